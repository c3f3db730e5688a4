"""When a member's loop counts as blocked for too long. Pure.

A member shows a sign of life several times a second, unless something keeps its loop: code that does not await. From
the last sign on that code has the member's harakiri limit, or until the moment that it set for itself, and then a
grace: what comes back by itself is dealt with inside of the member, which loses nothing else.
"""

from __future__ import annotations

import math

__all__ = ["GRACE", "BlockedLimit"]

# Seconds. Twice the time between two signs of life, so that a loop that runs is never taken for one that does not.
GRACE = 0.5


class BlockedLimit:
    """The judgement of one member. All times are of one clock.

    Args:
        limit: seconds that its loop may be blocked; 0 is no limit.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit or math.inf
        self._restarted_at = -math.inf

    def restart(self, now: float) -> None:
        """It could not run until now, and nothing of that was its fault: its time begins anew."""
        self._restarted_at = now

    def due(self, heartbeat: float, deadline: float) -> float:
        """When it is to be ended, if it shows no other sign of life until then.

        Args:
            heartbeat: its last sign of life; 0 before the first one.
            deadline: when the code that it runs wants to be over; 0 is never. A loop that has run since then has ended
                that code by itself.
        """
        if not heartbeat:
            return math.inf
        due = max(heartbeat, self._restarted_at) + self._limit
        if heartbeat < deadline:
            due = min(due, max(deadline, self._restarted_at))
        return due + GRACE
