"""When a member's event loop counts as blocked for too long. Pure.

A member's heartbeat changes several times a second, unless code that does not await blocks its loop. From the last
heartbeat on that code has the member's time limit (harakiri), or the time until the deadline that it set for itself,
and then a grace: if it returns within that, the member itself ends it, and its other work is not lost.
"""

from __future__ import annotations

import math

__all__ = ["GRACE", "BlockedLimit"]

# Seconds. Twice the time between two heartbeats, so that a running loop is never taken for a blocked one.
GRACE = 0.5


class BlockedLimit:
    """The limit of one member. All times are of one clock.

    Args:
        limit: seconds that its loop may be blocked; 0 is no limit.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit or math.inf
        self._restarted_at = -math.inf

    def restart(self, now: float) -> None:
        """Start the time limit anew, because the member could not run until now."""
        self._restarted_at = now

    def due(self, heartbeat: float, deadline: float) -> float:
        """When the member is to be killed, if there is no other heartbeat until then.

        Args:
            heartbeat: the time of its last heartbeat; 0 before the first one, and when its loop has ended.
            deadline: the deadline that its code set for itself; 0 is none. If the loop has run since then, the member
                has ended that code itself.
        """
        if not heartbeat:
            return math.inf
        due = max(heartbeat, self._restarted_at) + self._limit
        if heartbeat < deadline:
            due = min(due, max(deadline, self._restarted_at))
        return due + GRACE
