"""User locks: the holder of each lock and the queue of waiters. Pure.

A released lock passes directly to the waiter that has waited longest, before that runs. So locks are fair: no waiter is
overtaken. Waiters are woken in `locks.py`.

Holders and waiters are hashable values that the caller chooses; equal ones are the same holder.
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
        """The holder; None if the lock is free."""
        return self._holders.get(number)

    def take(self, number: int, taker: H) -> bool:
        """Give the lock to `taker`, or append `taker` to the queue and return False."""
        if number not in self._holders:
            self._holders[number] = taker
            return True
        self._waiting.setdefault(number, deque()).append(taker)
        return False

    def held(self) -> list[tuple[int, H]]:
        """All locks that are held, with their holders."""
        return list(self._holders.items())

    def waiters(self) -> list[tuple[int, H]]:
        """All waiters, with the locks that they wait for."""
        return [(number, waiter) for number, waiting in self._waiting.items() for waiter in waiting]

    def forget(self, number: int, waiter: H) -> None:
        """Remove a waiter from the queue."""
        waiting = self._waiting[number]
        waiting.remove(waiter)
        if not waiting:
            del self._waiting[number]

    def hand_over(self, number: int) -> H | None:
        """The holder releases the lock. Returns the new holder, or None if the lock is free."""
        waiting = self._waiting.get(number)
        if not waiting:
            del self._holders[number]
            return None
        self._holders[number] = following = waiting.popleft()
        if not waiting:
            del self._waiting[number]
        return following
