"""The phases of a connection; `session.py` describes them. Pure."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["BLOCKED", "BUSY", "CLOSED", "ENDING", "IDLE", "SKIPPING", "Phase"]


class Phase(enum.Enum):
    """What a connection is doing; `session.py` describes each phase."""

    IDLE = enum.auto()
    BUSY = enum.auto()
    SKIPPING = enum.auto()
    BLOCKED = enum.auto()
    ENDING = enum.auto()
    CLOSED = enum.auto()


# Every request compares phases; a global is found faster than a member of an enum.
IDLE: Final = Phase.IDLE
BUSY: Final = Phase.BUSY
SKIPPING: Final = Phase.SKIPPING
BLOCKED: Final = Phase.BLOCKED
ENDING: Final = Phase.ENDING
CLOSED: Final = Phase.CLOSED
