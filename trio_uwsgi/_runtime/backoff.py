"""How long to wait before something that failed is restarted. Pure."""

from __future__ import annotations

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MEMBER_STARTED_AFTER", "next_pause"]

# Seconds. What fails is restarted after 1, 2, 4, ... 60; what ran for a minute did not fail to start. uWSGI respawns at
# once, which is a busy loop for what fails at its start.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
# Seconds. A member that ran this long had started, and is likely to have died of its work: it is restarted at once.
MEMBER_STARTED_AFTER = 1.0


def next_pause(previous: float, ran: float, started_after: float = LONGEST_PAUSE) -> float:
    """The pause in seconds before the next start of something that ran for `ran` seconds, after a pause of `previous`.

    0 if it ran for at least `started_after` seconds: then it had started.
    """
    if ran >= started_after:
        return 0.0
    return min(previous * 2, LONGEST_PAUSE) or FIRST_PAUSE
