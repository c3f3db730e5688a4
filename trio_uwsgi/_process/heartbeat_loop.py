"""The heart of a member in a process of its own: signs of life, and how it goes, on its row of the board.

What one beat does is here, and how often it does that in production; where time is not the system's, whoever stays
beside the member (`member_process.House`) lets it beat.
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
    from trio_uwsgi._units.unit import Member

__all__ = ["HeartbeatLoop", "beat"]

# Seconds between two signs of life. The master takes a loop for blocked that has given none for much longer.
_INTERVAL = 0.25
# Signs of life until a process with a stuck thread asks to be replaced: code that ends a little late is no reason.
_STUCK_BEATS = 4
# Not the generator that all share: an application that seeds it would let all members go at once, and would not get the
# numbers that it seeded it for.
_chance = random.SystemRandom().random


class HeartbeatLoop:
    """The signs of life of one member. It asks for a successor when it is time: a thread that was given up can only be
    ended with its process.
    """

    def __init__(self, row: Row, member_factory: MemberFactory, member: Member) -> None:
        self.member_factory = member_factory
        self.member = member
        self._row = row
        self._stuck = 0  # beats since there is such a thread
        self._recycling = (
            RecyclingCheck(member_factory.recycling_limits, _chance(), trio.current_time())
            if member.kind == "worker"
            else None
        )
        member_factory.continue_counters(member.name, row)
        self._before = row.get("requests")  # of those who sat here before
        row.set("pid", os.getpid())

    def beat(self) -> None:
        """Show that the loop runs, and how it goes."""
        assert self.member.heartbeat is not None
        self.member.heartbeat.beat()
        self.note()
        stuck = int(self._row.get("stuck"))
        self._stuck = self._stuck + 1 if stuck else 0
        reason = ""
        if self._stuck >= _STUCK_BEATS:
            reason = f"{stuck} of its threads still run code that was given up"
        elif self._recycling is not None:
            memory = _memory() if self.member_factory.recycling_limits.rss else 0
            reason = self._recycling.reason(trio.current_time(), self._row.get("requests") - self._before, memory)
        if reason:
            self.member.link.send(ReplaceMe(reason))

    def note(self) -> None:
        """Write down how it goes."""
        self.member_factory.note(self.member.name, self._row)


async def beat(heart: HeartbeatLoop) -> None:
    """Let it beat until cancelled, and write down how it went."""
    try:
        while True:
            heart.beat()
            await trio.sleep(_INTERVAL)
    finally:
        heart.note()


def _memory() -> int:
    """The bytes of memory that this process has."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
