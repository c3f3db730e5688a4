"""Decides when a worker has reached a recycling limit, and is to be replaced. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi.config.options import RecyclingLimits

__all__ = ["RecyclingCheck"]

# Seconds after which a worker that still runs asks again: its replacement did not start.
ASK_AGAIN_AFTER = 30.0


class RecyclingCheck:
    """The recycling limits of one worker.

    Args:
        limits: what the user set.
        chance: from 0 to below 1: the part of `max_requests_delta` that is added for this worker.
        now: when the worker started, in seconds.
    """

    def __init__(self, limits: RecyclingLimits, chance: float, now: float) -> None:
        self._requests = limits.requests + int(chance * (limits.requests_delta + 1)) if limits.requests else math.inf
        self._ends = now + limits.lifetime if limits.lifetime else math.inf
        self._limits = limits
        self._silent_until = now

    def reason(self, now: float, requests: float, rss: float) -> str:
        """Why the worker is to be replaced now, for the log; "" if it is not, or if that was said a moment ago.

        Args:
            now: in seconds.
            requests: how many it has served.
            rss: its memory in bytes.
        """
        if now < self._silent_until:
            return ""
        if requests >= self._requests:
            said = f"it has served {requests:g} requests (max_requests is {self._limits.requests})"
        elif now >= self._ends:
            said = f"it has run for {self._limits.lifetime:g} s (max_worker_lifetime)"
        elif 0 < self._limits.rss <= rss:
            said = f"it uses {rss / 1024**2:.0f} MB of memory (reload_on_rss is {self._limits.rss / 1024**2:.0f} MB)"
        else:
            return ""
        self._silent_until = now + ASK_AGAIN_AFTER
        return said
