"""Damage to bytes, for tests of what reads them, and what a process holds before and after."""

from __future__ import annotations

import gc
import itertools
import os
import random
import sys
from collections.abc import Sequence
from typing import NamedTuple

import trio
import trio.testing

__all__ = ["Held", "cut", "damaged"]


def damaged(rng: random.Random, data: bytes, splinters: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to four wounds; some of them are splinters that hurt this kind of bytes."""
    wounded = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(wounded))
        match rng.randrange(5 if splinters else 4):
            case 0:
                wounded[at] = rng.randrange(256)
            case 1:
                del wounded[at : at + rng.randint(1, 20)]
            case 2:
                wounded[at:at] = rng.randbytes(rng.randint(1, 20))
            case 3:
                wounded[at:at] = wounded[at : at + rng.randint(1, 200)]
            case _:
                splinter = rng.choice(splinters)
                wounded[at : at + rng.choice((0, len(splinter)))] = splinter
        wounded = wounded or bytearray(b"\0")
    return bytes(wounded)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The bytes in one to seven pieces, some of which may be empty."""
    places = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 1, 2, 6))))
    return [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]


class Held(NamedTuple):
    """What this process holds: descriptors, tasks of Trio, and blocks of Python's memory."""

    descriptors: int
    tasks: int
    blocks: int

    @classmethod
    async def now(cls) -> Held:
        """Once all tasks wait, and after garbage was collected."""
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        tasks = trio.lowlevel.current_statistics().tasks_living
        return cls(len(os.listdir("/proc/self/fd")), tasks, sys.getallocatedblocks())

    async def check(self, rounds: int) -> None:
        """Assert that nothing is held for longer after so many more rounds of the same.

        Memory may grow by what caches and counters keep, which is far less than a block for each round.
        """
        now = await Held.now()
        assert (self.descriptors, self.tasks) == (now.descriptors, now.tasks)
        assert now.blocks - self.blocks < rounds, (self, now)
