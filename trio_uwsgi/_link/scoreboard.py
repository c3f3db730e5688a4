"""The scoreboard: shared memory in which members write their counters, and the other processes read them.

Each number is 8 bytes, aligned, and has one writer, so no lock is needed: a reader sees the old value or the new one.
Numbers that belong together may be of different moments. Each slot has two rows, for its two instances while one is
replaced; an instance writes its own, except for the number by which the master tells code that blocks its event loop
that it is to stop. There are two numbers for each user lock, and the memory of the shared areas (`_shared_areas/`).
A row also has a short text: what its member runs, so that the master can log what a killed member was stuck in.

Times are those of `time.monotonic`, which is one clock for all processes; Trio's has an offset of its own in each.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from collections.abc import Sequence
from typing import Final

__all__ = ["TOTALS", "Row", "Scoreboard"]

_COLUMNS: Final = (
    "pid",
    "heartbeat",  # when the member's loop last ran; 0 before it did and after its end
    "deadline",  # when the code that blocks the loop reaches its own time limit; 0: it has none
    "open",  # connections
    "accepting",  # 1 while other workers may leave connections to this one
    "stopping",  # 1 once the member was asked to stop, or the runtime: written by the master
    "requests",
    "connections",
    "running",
    "done",
    "failed",
    "harakiri",
    "stuck",
    "jobs_done",
    "jobs_failed",
    "signals",
    "sent",  # bytes of response bodies
    "micros",  # microseconds that requests took
    "spawns",  # instances that were started
    "before",  # `requests` when this instance started
    "last_spawn",  # when it started, in seconds since the epoch
    "signal",  # 1 more than the number of the signal whose handler runs; 0: none does
    "paused",  # 1 while accepting is paused
)
# Counters that continue from one instance in a slot to the next.
TOTALS: Final = (
    *("requests", "connections", "done", "failed", "harakiri", "jobs_done", "jobs_failed"),
    *("signals", "sent", "micros", "spawns"),
)
_ROW = 8 * 24  # bytes: three cache lines, so that writers do not disturb each other
_NUMBERS = _ROW // 8
_TEXT = 128  # bytes, up to the first NUL
_PACKED = struct.Struct(f"{_TEXT - 1}sx")
_HEARTBEAT = _COLUMNS.index("heartbeat")
_RUNNING = _COLUMNS.index("running")


class Row:
    """The numbers of one row, see `_COLUMNS`, and its text."""

    __slots__ = ("_numbers", "_start", "_text")

    def __init__(self, numbers: memoryview[float], start: int, text: memoryview) -> None:
        self._numbers = numbers
        self._start = start
        self._text = text

    def get(self, column: str) -> float:
        """One number."""
        value: float = self._numbers[self._start + _PLACES[column]]
        return value

    def set(self, column: str, value: float) -> None:
        """Write one number. For the instance of this row only, and `stopping` for the master."""
        self._numbers[self._start + _PLACES[column]] = value

    def numbers(self) -> dict[str, float]:
        """All numbers, by column."""
        return dict(zip(_COLUMNS, self._numbers[self._start : self._start + len(_COLUMNS)], strict=True))

    def read(self) -> bytes:
        """The text. It is complete unless its writer is writing it."""
        return self._text.tobytes().partition(b"\0")[0]

    def write(self, text: bytes) -> None:
        """Write the text, truncated to the size of its field. For the instance of this row only."""
        _PACKED.pack_into(self._text, 0, text)

    def begin(self, now: float) -> None:
        """Write the heartbeat, and that one request runs, in one call, because this is done for each request."""
        self._numbers[self._start + _HEARTBEAT] = now
        self._numbers[self._start + _RUNNING] = 1

    def release(self, numbers: memoryview[float]) -> None:
        """Release the memory, and read these numbers, a copy of the whole scoreboard, from now on."""
        self._text.release()
        self._numbers = numbers

    def clear(self) -> None:
        """Reset all but the totals. For the master, when the instance has ended."""
        self.write(b"")
        for column, place in _PLACES.items():
            if column not in TOTALS:
                self._numbers[self._start + place] = 0.0


_PLACES = {name: place for place, name in enumerate(_COLUMNS)}


class Scoreboard:
    """The shared memory, by its descriptor. The master makes it; members open the descriptor that they inherit.

    Args:
        descriptor: of the memory; this object owns it.
        rows: how many rows it has.
        locks: how many user locks there are.
        areas: bytes of memory for each shared area.
    """

    def __init__(self, descriptor: int, rows: int, locks: int, areas: Sequence[int] = ()) -> None:
        self.descriptor = descriptor
        begin = _size(rows, locks + len(areas))
        self._memory = mmap.mmap(descriptor, begin + sum(areas))
        self._view = memoryview(self._memory)
        self._numbers = self._view[: rows * _ROW].cast("d")
        texts = self._view[rows * _ROW : rows * (_ROW + _TEXT)]
        self.rows = [Row(self._numbers, row * _NUMBERS, texts[row * _TEXT : (row + 1) * _TEXT]) for row in range(rows)]
        texts.release()
        self.locks = places = locks + len(areas)  # of shared areas, too
        numbers = self._view[rows * (_ROW + _TEXT) : begin].cast("i")
        self._holders, self._direct = numbers[:places], numbers[places : 2 * places]
        numbers.release()
        ends = list(itertools.accumulate(areas, initial=begin))
        self.areas = [self._view[start:end] for start, end in itertools.pairwise(ends)]

    @classmethod
    def make(cls, rows: int, locks: int, areas: Sequence[int] = ()) -> Scoreboard:
        """New memory, all zero."""
        descriptor = os.memfd_create("trio_uwsgi", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _size(rows, locks + len(areas)) + sum(areas))
        return cls(descriptor, rows, locks, areas)

    def lock_holder(self, number: int) -> int:
        """Who holds this user lock: 0 is nobody, -1 whoever was granted it by the master, and any other number is 1
        more than the row of a member. Numbers of locks below 0 are those of shared areas.
        """
        return self._holders[number]

    def is_locked(self, number: int) -> bool:
        """Whether anybody holds this user lock."""
        return self._holders[number] != 0

    def set_lock_holder(self, number: int, holder: int) -> None:
        """Write who holds this user lock. For its holder; and for the master, if that was granted it or has died."""
        self._holders[number] = holder

    def is_direct(self, number: int) -> bool:
        """Whether members take this lock without asking the master."""
        return bool(self._direct[number])

    def set_direct(self, number: int, direct: bool) -> None:
        """Write whether they do. For the master only."""
        self._direct[number] = direct

    def close(self) -> None:
        """Release the memory in this process. The rows here keep the numbers that they had last."""
        last = memoryview(self._numbers.tobytes()).cast("d")
        for row in self.rows:
            row.release(last)
        self._numbers.release()
        self._holders.release()
        self._direct.release()
        for area in self.areas:
            area.release()
        self._view.release()
        self._memory.close()
        os.close(self.descriptor)


def _size(rows: int, locks: int) -> int:
    size = max(1, rows) * (_ROW + _TEXT) + 2 * 4 * max(1, locks)
    return (size + 7) // 8 * 8  # shared areas are aligned
