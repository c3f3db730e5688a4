"""One shared area: a piece of memory with a head, and what may be read and written in it. Pure.

The head has the number of changes so far, and whether a task waits for the next one. Whoever makes a change clears that
mark and announces the change, so changes for which nobody waits cost nothing more. A process that dies while it waits
leaves the mark behind; then one change is announced in vain.

Callers make sure that one change is made at a time (`areas.py`).
"""

from __future__ import annotations

from struct import Struct

from trio_uwsgi.errors import SharedAreaError

__all__ = ["Area", "memory_size"]

_HEAD = Struct("=QQ")  # changes; 1 if a task waits
_WORDS = {8: Struct("=b"), 16: Struct("=h"), 32: Struct("=i"), 64: Struct("=q")}


def memory_size(size: int) -> int:
    """The bytes of memory that an area of this size takes; whole words, so that heads are aligned."""
    return _HEAD.size + (size + 7) // 8 * 8


class Area:
    """One area.

    Args:
        number: its number, for errors.
        memory: of `memory_size(size)` bytes.
        size: its bytes.
    """

    __slots__ = ("_memory", "_number", "size")

    def __init__(self, number: int, memory: memoryview, size: int) -> None:
        self._number = number
        self._memory = memory
        self.size = size

    @property
    def changes(self) -> int:
        """How many changes there were."""
        count: int = _HEAD.unpack_from(self._memory)[0]
        return count

    def changed(self) -> bool:
        """Count a change. Returns whether it is to be announced, because a task waits for it."""
        count, waiting = _HEAD.unpack_from(self._memory)
        _HEAD.pack_into(self._memory, 0, (count + 1) % 2**64, 0)
        return bool(waiting)

    def wait_for_change(self) -> None:
        """Have the next change announced."""
        _HEAD.pack_into(self._memory, 0, self.changes, 1)

    @property
    def view(self) -> memoryview:
        """The bytes of the area themselves."""
        return self._memory[_HEAD.size : _HEAD.size + self.size]

    def read(self, position: int, length: int | None) -> bytes:
        """Bytes from a position on; None: up to the end."""
        if length is None:
            length = max(0, self.size - self._checked(position, 0))
        begin = _HEAD.size + self._checked(position, length)
        return bytes(self._memory[begin : begin + length])

    def write(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes from a position on."""
        length = memoryview(data).nbytes
        begin = _HEAD.size + self._checked(position, length)
        self._memory[begin : begin + length] = memoryview(data).cast("B")

    def read_number(self, position: int, bits: int) -> int:
        """The signed number of this many bits at a position, in the machine's order of bytes."""
        value: int = _WORDS[bits].unpack_from(self._memory, _HEAD.size + self._checked(position, bits // 8))[0]
        return value

    def write_number(self, position: int, bits: int, value: int) -> None:
        """Write a number. The upper half of the unsigned ones reads as negative."""
        if not isinstance(value, int):
            raise TypeError(f"a number in a shared area is an int, not {value!r}")
        if not -(2 ** (bits - 1)) <= value < 2**bits:
            raise SharedAreaError(
                f"{value} does not fit into {bits} bits; write {-(2 ** (bits - 1))} to {2 ** (bits - 1) - 1}"
            )
        begin = _HEAD.size + self._checked(position, bits // 8)
        _WORDS[bits].pack_into(self._memory, begin, _signed(value, bits))

    def add(self, position: int, bits: int, amount: int) -> None:
        """Add to a number. Beyond the largest one follows the smallest."""
        if not isinstance(amount, int):
            raise TypeError(f"what is added to a number in a shared area is an int, not {amount!r}")
        sum_ = _signed(self.read_number(position, bits) + amount, bits)
        _WORDS[bits].pack_into(self._memory, _HEAD.size + position, sum_)

    def _checked(self, position: int, length: int) -> int:
        for what, value in (("position", position), ("length", length)):
            if not isinstance(value, int):
                raise TypeError(f"a {what} in a shared area is an int, not {value!r}")
        if position < 0 or length < 0 or position + length > self.size:
            raise SharedAreaError(
                f"{length} bytes at position {position} are not in shared area {self._number}, which has {self.size}; "
                f"use positions from 0 to {self.size - 1}, or make it larger with Config(sharedarea=...)"
            )
        return position


def _signed(value: int, bits: int) -> int:
    half: int = 2 ** (bits - 1)
    return (value + half) % (2 * half) - half
