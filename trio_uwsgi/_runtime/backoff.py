"""How long to wait before something that ended badly is started again. Pure."""

from __future__ import annotations

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MEMBERS_YOUTH", "next_pause"]

# Seconds. What fails is started again after 1, 2, 4, ... 60; what ran a minute was no failure to start. uWSGI respawns
# at once, which for what fails at its start is a busy loop.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
# A member that lived for a second had started; what killed it then is likely to have been its work.
MEMBERS_YOUTH = 1.0


def next_pause(previous: float, lived: float, youth: float = LONGEST_PAUSE) -> float:
    """The pause, in seconds, after something that lived so long and was started after a pause of `previous`.

    0 after a life beyond its youth, and before the first one.
    """
    if lived >= youth:
        return 0.0
    return min(previous * 2, LONGEST_PAUSE) or FIRST_PAUSE
