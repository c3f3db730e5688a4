"""User locks: who holds which, and who waits for it, in what order. Pure.

A lock is handed over, never fought for: when its holder lets go, the one that waited longest holds it at once, before
it has even run. So nobody overtakes, and nobody starves. How a waiter is woken is in `locks.py`.

Holders and waiters are values that the caller chooses; equal ones are the same holder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["LockTable"]

H = TypeVar("H", bound=Hashable)


class LockTable(Generic[H]):
    """Any number of locks. Invariant: a lock without a holder has no waiters."""

    def __init__(self) -> None:
        self._holders: dict[int, H] = {}
        self._waiting: dict[int, deque[H]] = {}

    def holder(self, number: int) -> H | None:
        """Who holds it."""
        return self._holders.get(number)

    def take(self, number: int, who: H) -> bool:
        """Give the lock to `who`, or queue it behind the others: then False."""
        if number not in self._holders:
            self._holders[number] = who
            return True
        self._waiting.setdefault(number, deque()).append(who)
        return False

    def held(self) -> list[tuple[int, H]]:
        """The locks that have a holder, with it."""
        return list(self._holders.items())

    def waiters(self) -> list[tuple[int, H]]:
        """Who waits, and for which lock."""
        return [(number, who) for number, waiting in self._waiting.items() for who in waiting]

    def forget(self, number: int, who: H) -> None:
        """`who` waits no more."""
        waiting = self._waiting[number]
        waiting.remove(who)
        if not waiting:
            del self._waiting[number]

    def hand_over(self, number: int) -> H | None:
        """The holder lets go: who holds the lock now, None if nobody does."""
        waiting = self._waiting.get(number)
        if not waiting:
            del self._holders[number]
            return None
        self._holders[number] = following = waiting.popleft()
        if not waiting:
            del self._waiting[number]
        return following
