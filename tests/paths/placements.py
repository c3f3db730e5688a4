"""The placements in which a test runs: what it expects is the same in each."""

from __future__ import annotations

import fcntl
import os
from typing import Literal

import pytest

__all__ = ["HAS_PROCESSES", "Placement", "all_placements", "task_placements", "with_long_processes"]

Placement = Literal["task", "memory", "process"]

# As `open_zygote` asks for them.
HAS_PROCESSES = hasattr(os, "pidfd_open") and hasattr(fcntl, "F_SETSIG")

_PROCESS = pytest.param("process", marks=pytest.mark.processes)

all_placements = pytest.mark.parametrize(
    "placement", ["task", "memory", _PROCESS] if HAS_PROCESSES else ["task", "memory"]
)

# For stories that take many seconds in processes, where each member costs a process.
with_long_processes = pytest.mark.parametrize(
    "placement",
    ["task", "memory", pytest.param("process", marks=[pytest.mark.processes, pytest.mark.long])]
    if HAS_PROCESSES
    else ["task", "memory"],
)


def task_placements(why: str) -> pytest.MarkDecorator:
    """For tests of members as tasks, in one process with the test; `why` says what makes them so."""
    assert why
    return pytest.mark.parametrize("placement", ["task", "memory"])
