"""The heartbeat of a member's process: writes the time and the member's statistics to its row of the scoreboard.

The method `HeartbeatLoop.beat` does it once; the function `beat` repeats that in production. Tests with another clock
replace the function (see `MemberEnvironment` in `member_process.py`).
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import ReplaceMe
from trio_uwsgi._runtime.recycling import RecyclingCheck

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Row
    from trio_uwsgi._runtime.member_factory import MemberFactory
    from trio_uwsgi._units.member import Member

__all__ = ["HeartbeatLoop", "beat"]

# Seconds between two heartbeats. After a much longer time without one the master takes the loop for blocked.
_INTERVAL = 0.25
# Heartbeats until a process with a stuck thread asks to be replaced: code that only ends a little late is no reason.
_STUCK_BEATS = 4
# Not the shared generator: if the application seeds that, all workers would be recycled at once, and the application
# would not get the numbers that it expects.
_random = random.SystemRandom().random


class HeartbeatLoop:
    """The heartbeats of one member. It asks for a replacement when a worker reached a limit, or when a thread is stuck,
    because such a thread can only be ended with its process.
    """

    def __init__(self, row: Row, member_factory: MemberFactory, member: Member) -> None:
        self.member_factory = member_factory
        self.member = member
        self._row = row
        self._stuck = 0  # heartbeats since a thread got stuck
        self._recycling = (
            RecyclingCheck(member_factory.recycling_limits, _random(), trio.current_time())
            if member.kind == "worker"
            else None
        )
        member_factory.continue_counters(member.name, row)
        self._requests_before = row.get("requests")  # of earlier instances in this slot
        row.set("pid", os.getpid())

    def beat(self) -> None:
        """Write the heartbeat and the statistics, and ask for a replacement if there is a reason."""
        assert self.member.heartbeat is not None
        self.member.heartbeat.beat()
        self.note()
        stuck = int(self._row.get("stuck"))
        self._stuck = self._stuck + 1 if stuck else 0
        reason = ""
        if self._stuck >= _STUCK_BEATS:
            reason = f"{stuck} {'thread is' if stuck == 1 else 'threads are'} stuck"
        elif self._recycling is not None:
            memory = _memory() if self.member_factory.recycling_limits.rss else 0
            reason = self._recycling.reason(
                trio.current_time(), self._row.get("requests") - self._requests_before, memory
            )
        if reason:
            self.member.link.send(ReplaceMe(reason))

    def note(self) -> None:
        """Write the statistics."""
        self.member_factory.note(self.member.name, self._row)

    def end(self) -> None:
        """The event loop ends: no watchdog limits what follows, but the mercy. Write the last statistics."""
        self.note()
        self._row.set("heartbeat", 0)


async def beat(heartbeat_loop: HeartbeatLoop) -> None:
    """Repeat heartbeats until cancelled."""
    try:
        while True:
            heartbeat_loop.beat()
            await trio.sleep(_INTERVAL)
    finally:
        heartbeat_loop.end()


def _memory() -> int:
    """The resident memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
