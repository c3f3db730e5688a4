"""A table of entries with the same time limit, and the one task that expires them.

A dict keeps insertion order, so with a single limit the oldest entry is due first: no heap is needed, and an entry
costs a dict store and a dict delete. The task sleeps until the oldest entry is due, then looks again; entries that were
removed meanwhile cost nothing. It never polls: with an empty table it sleeps until the next entry wakes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Entries that may stay for `limit` seconds each, or `inf`; `expire` is called with each that stays longer."""

    __slots__ = ("_expire", "_lot", "asleep", "limit", "since")

    def __init__(self, limit: float, expire: Callable[[T], None]) -> None:
        self.limit = limit
        self.since: dict[T, float] = {}  # in order of time: `add` moves an entry to the end
        self._expire = expire
        self.asleep = False
        self._lot = trio.lowlevel.ParkingLot()

    def add(self, entry: T, now: float) -> None:
        """Start the entry's time. If it is in the table, `discard` it first: otherwise it keeps its old place."""
        self.since[entry] = now
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """Wake the sleeping task: the table is no longer empty. (The hot path writes `since` itself.)"""
        self.asleep = False
        self._lot.unpark()

    def discard(self, entry: T) -> None:
        """Stop the entry's time, if it was started."""
        self.since.pop(entry, None)

    async def serve(self) -> None:
        """Expire entries until cancelled. Each is taken out of the table before `expire` sees it."""
        if math.isinf(self.limit):
            await trio.sleep_forever()
        since = self.since
        while True:
            if not since:
                self.asleep = True
                await self._lot.park()
                continue
            now = trio.current_time()
            late: list[tuple[T, float]] = []
            due = now
            for entry, start in since.items():
                due = start + self.limit
                if due > now:
                    break
                late.append((entry, start))
            if not late:
                await trio.sleep_until(due)
            for entry, start in late:
                if since.get(entry) == start:  # it may have been removed, or started again, during the checkpoint below
                    del since[entry]
                    self._expire(entry)
                    await trio.lowlevel.checkpoint()
