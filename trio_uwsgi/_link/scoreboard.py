"""Memory that all processes of a runtime see: numbers that one of them writes and the others read.

Each number is 8 bytes, aligned, and has one writer, so no lock is needed: a reader sees the old value or the new one.
Numbers that belong together may be seen a moment apart. There is a row for each seat, which its member writes, and a
byte for each user lock, which the master writes. A row has a short text, too: what its member runs, for whoever has to
say what it was stuck in.

Times are those of `time.monotonic`, which is one clock for all processes; Trio's has an offset of its own in each.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

__all__ = ["TOTALS", "Row", "Scoreboard"]

_COLUMNS: Final = (
    "pid",
    "heartbeat",  # when the member's loop last ran; 0 before it did
    "deadline",  # when code that keeps the loop to itself has to be over by its own wish; 0 is never
    "open",  # connections
    "accepting",  # 1 while others may leave connections to this member
    "requests",
    "connections",
    "running",
    "done",
    "failed",
    "harakiri",
    "stuck",
    "jobs_done",
    "jobs_failed",
)
# What a seat counts from one member to the next, each of whom goes on from there.
TOTALS: Final = ("requests", "connections", "done", "failed", "harakiri", "jobs_done", "jobs_failed")
_ROW = 8 * 16  # bytes: two cache lines, so that writers do not disturb each other
_NUMBERS = _ROW // 8
_TEXT = 128  # bytes, up to the first NUL
_PACKED = struct.Struct(f"{_TEXT - 1}sx")
_HEARTBEAT = _COLUMNS.index("heartbeat")


class Row:
    """The numbers of one seat, as attributes: see `_COLUMNS`; and its text."""

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
        """Write one number. For the member of the seat only."""
        self._numbers[self._start + _PLACES[column]] = value

    def read(self) -> bytes:
        """The text. It is whole if its writer does nothing just now."""
        return self._text.tobytes().partition(b"\0")[0]

    def write(self, text: bytes) -> None:
        """Write the text, as much of it as there is room for. For the member of the seat only."""
        _PACKED.pack_into(self._text, 0, text)

    def mark(self, now: float, text: bytes) -> None:
        """Write the heartbeat and the text, in one go, for whoever does it for each request."""
        self._numbers[self._start + _HEARTBEAT] = now
        _PACKED.pack_into(self._text, 0, text)

    def release(self, numbers: memoryview[float]) -> None:
        """Let go of the memory, and show these numbers, of the whole board, from now on."""
        self._text.release()
        self._numbers = numbers

    def clear(self) -> None:
        """Nobody is there any more; what its totals say stays. For the master, when the member has ended."""
        self.write(b"")
        for column, place in _PLACES.items():
            if column not in TOTALS:
                self._numbers[self._start + place] = 0.0


_PLACES = {name: place for place, name in enumerate(_COLUMNS)}


class Scoreboard:
    """The memory, by its descriptor. The master makes it, members open what they inherit.

    Args:
        descriptor: of the memory; this object owns it.
        rows: how many seats there are.
        locks: how many user locks there are.
    """

    def __init__(self, descriptor: int, rows: int, locks: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _size(rows, locks))
        self._view = memoryview(self._memory)
        self._numbers = self._view[: rows * _ROW].cast("d")
        texts = self._view[rows * _ROW : rows * (_ROW + _TEXT)]
        self.rows = [Row(self._numbers, row * _NUMBERS, texts[row * _TEXT : (row + 1) * _TEXT]) for row in range(rows)]
        texts.release()
        self._locks = self._view[rows * (_ROW + _TEXT) :]

    @classmethod
    def make(cls, rows: int, locks: int) -> Scoreboard:
        """New memory, all zero."""
        descriptor = os.memfd_create("trio_uwsgi", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _size(rows, locks))
        return cls(descriptor, rows, locks)

    def is_locked(self, number: int) -> bool:
        """Does anybody hold this user lock?"""
        return bool(self._locks[number])

    def set_locked(self, number: int, locked: bool) -> None:
        """For the master only, which knows."""
        self._locks[number] = locked

    def close(self) -> None:
        """Let go of the memory. Others keep it; the rows here go on to show the numbers that they showed last."""
        last = memoryview(self._numbers.tobytes()).cast("d")
        for row in self.rows:
            row.release(last)
        self._numbers.release()
        self._locks.release()
        self._view.release()
        self._memory.close()
        os.close(self.descriptor)


def _size(rows: int, locks: int) -> int:
    return max(1, rows) * (_ROW + _TEXT) + max(1, locks)
