"""Where the members of a story live: the story is the same."""

from __future__ import annotations

from typing import Literal

import pytest

__all__ = ["Placement", "both_placements"]

Placement = Literal["task", "memory"]
both_placements = pytest.mark.parametrize("placement", ["task", "memory"])
