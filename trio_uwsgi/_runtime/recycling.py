"""When a worker has done enough, and another one is to follow. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi.config.options import RecyclingLimits

__all__ = ["RecyclingCheck"]

# Seconds after which a worker that is still there asks again: the one that was to follow did not start.
AGAIN = 30.0


class RecyclingCheck:
    """How much one worker may do.

    Args:
        limits: what the user set.
        chance: from 0 to below 1, which part of the requests' delta is this worker's.
        now: when it began, in seconds.
    """

    def __init__(self, limits: RecyclingLimits, chance: float, now: float) -> None:
        self._requests = limits.requests + int(chance * (limits.requests_delta + 1)) if limits.requests else math.inf
        self._ends = now + limits.lifetime if limits.lifetime else math.inf
        self._limits = limits
        self._silent_until = now

    def reason(self, now: float, requests: float, rss: float) -> str:
        """Why another one is to follow now, for the log; "" if none is, or if that was said a moment ago.

        Args:
            now: in seconds.
            requests: that it has served.
            rss: bytes of memory that it has.
        """
        if now < self._silent_until:
            return ""
        if requests >= self._requests:
            said = f"it has served {requests:g} requests (max_requests is {self._limits.requests})"
        elif now >= self._ends:
            said = f"it has lived for {self._limits.lifetime:g} s (max_worker_lifetime)"
        elif 0 < self._limits.rss <= rss:
            said = f"it has {rss / 1024**2:.0f} MB of memory (reload_on_rss is {self._limits.rss / 1024**2:.0f} MB)"
        else:
            return ""
        self._silent_until = now + AGAIN
        return said
