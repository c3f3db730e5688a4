"""One shared area: its bounds, its numbers and its changes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from trio_uwsgi._shared_areas.rules import Area, memory_size
from trio_uwsgi.errors import SharedAreaError

pytestmark = pytest.mark.pure


def area(size: int = 10) -> Area:
    """A new one."""
    return Area(3, memoryview(bytearray(memory_size(size))), size)


def test_bytes() -> None:
    """What was written is read, in parts and up to the end; the rest is zero."""
    it = area()
    it.write(2, b"abc")
    it.write(9, bytearray(b"z"))
    assert (b"abc", b"bc\0\0\0\0z", b"", b"") == (it.read(2, 3), it.read(3, None), it.read(10, None), it.read(10, 0))
    assert bytes(it.view) == it.read(0, None)
    it.view[0] = 7
    assert b"\7\0" == it.read(0, 2)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_numbers(bits: int) -> None:
    """They are signed, in the machine's order; unsigned ones may be written, and additions wrap."""
    it = area()
    largest = 2 ** (bits - 1) - 1
    for written, read in ((5, 5), (-5, -5), (2**bits - 1, -1), (largest + 1, -largest - 1), (largest, largest)):
        it.write_number(1, bits, written)
        assert read == it.read_number(1, bits)
        assert read.to_bytes(bits // 8, sys.byteorder, signed=True) == it.read(1, bits // 8)
    it.add(1, bits, 1)
    assert -largest - 1 == it.read_number(1, bits)
    it.add(1, bits, -3)
    assert largest - 2 == it.read_number(1, bits)
    for value in (2**bits, -(2 ** (bits - 1)) - 1):
        with pytest.raises(SharedAreaError, match=f"does not fit into {bits} bits"):
            it.write_number(1, bits, value)
    assert largest - 2 == it.read_number(1, bits)


@pytest.mark.parametrize(
    "act",
    [
        lambda it: it.read(8, 3),
        lambda it: it.read(11, None),
        lambda it: it.read(-1, 1),
        lambda it: it.read(0, -1),
        lambda it: it.write(9, b"ab"),
        lambda it: it.read_number(3, 64),
        lambda it: it.write_number(10, 8, 1),
        lambda it: it.add(7, 32, 1),
    ],
)
def test_bounds(act: Any) -> None:  # Any: a function of an area
    """Nothing outside of the area is read or written."""
    it = area()
    with pytest.raises(SharedAreaError, match=r"are not in shared area 3, which has 10; use positions from 0 to 9"):
        act(it)
    assert bytes(10) == it.read(0, None)


@pytest.mark.parametrize(
    "act",
    [
        lambda it: it.read("0", 1),
        lambda it: it.read(0, 1.0),
        lambda it: it.write(None, b""),
        lambda it: it.write(0, "text"),
        lambda it: it.write_number(0, 8, "1"),
        lambda it: it.add(0, 32, 1.5),
    ],
)
def test_types(act: Any) -> None:  # Any: a function of an area
    """What is no number, or no bytes, is a TypeError."""
    with pytest.raises(TypeError):
        act(area())


def test_changes() -> None:
    """They are counted; one is to be announced if someone waits for it, and then the next one is not."""
    it = area()
    assert (0, False, 1) == (it.changes, it.changed(), it.changes)
    it.wait_for_change()
    assert (1, True, False, 3) == (it.changes, it.changed(), it.changed(), it.changes)


@pytest.mark.parametrize(("size", "memory"), [(1, 24), (8, 24), (9, 32), (4096, 4112)])
def test_memory_of_an_area(size: int, memory: int) -> None:
    """It has a head, and ends with a whole word."""
    assert memory == memory_size(size)
