"""The placements in which a test runs: what it expects is the same in each."""

from __future__ import annotations

import fcntl
import os
from typing import Literal

import pytest

__all__ = ["HAS_PROCESSES", "Placement", "all_placements", "first_placement", "task_placements"]

Placement = Literal["task", "memory", "process"]

# As `open_zygote` asks for them.
HAS_PROCESSES = hasattr(os, "pidfd_open") and hasattr(fcntl, "F_SETSIG")

# The same story once more, where each member costs a process.
_PROCESS = pytest.param("process", marks=[pytest.mark.processes, pytest.mark.long])

all_placements = pytest.mark.parametrize(
    "placement", ["task", "memory", _PROCESS] if HAS_PROCESSES else ["task", "memory"]
)


# For stories that take seconds: one way is enough to begin with.
first_placement = pytest.mark.parametrize(
    "placement", ["task", pytest.param("memory", marks=pytest.mark.long), *([_PROCESS] if HAS_PROCESSES else [])]
)


def task_placements(why: str) -> pytest.MarkDecorator:
    """For tests of members as tasks, in one process with the test; `why` says what makes them so."""
    assert why
    return pytest.mark.parametrize("placement", ["task", "memory"])
