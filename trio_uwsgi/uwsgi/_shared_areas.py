"""The API of shared areas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_unit, on_trios_thread

if TYPE_CHECKING:
    from trio_uwsgi._shared_areas.rules import Area

__all__ = [
    "sharedarea_dec32",
    "sharedarea_dec64",
    "sharedarea_inc32",
    "sharedarea_inc64",
    "sharedarea_memoryview",
    "sharedarea_read",
    "sharedarea_read8",
    "sharedarea_read16",
    "sharedarea_read32",
    "sharedarea_read64",
    "sharedarea_update",
    "sharedarea_wait",
    "sharedarea_write",
    "sharedarea_write8",
    "sharedarea_write16",
    "sharedarea_write32",
    "sharedarea_write64",
]

T = TypeVar("T")

_REMEDY = "use shared areas in a request, a handler or a mule's program"


def sharedarea_read(id: int, position: int, length: int | None = None) -> bytes:
    """Read bytes of a shared area.

    Args:
        id: the number of the area, from 0.
        position: of the first byte, from 0.
        length: how many bytes; None for all up to the end.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_read`, where a length of 0 also means all up to the end.
    """
    return _read("sharedarea_read", id, lambda area: area.read(position, length))


def sharedarea_write(id: int, position: int, data: bytes) -> None:
    """Write bytes into a shared area. Readers see all of them or none.

    Args:
        id: the number of the area, from 0.
        position: of the first byte, from 0.
        data: the bytes.
    Raises:
        SharedAreaError: there is no such area, or the bytes do not fit into it; nothing was written.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_write`.
    """
    _change("sharedarea_write", id, lambda area: area.write(position, data))


def sharedarea_read8(id: int, position: int) -> int:
    """Read a signed number of 8 bits from a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_read8`, also `sharedarea_readbyte`.
    """
    return _read("sharedarea_read8", id, lambda area: area.read_number(position, 8))


def sharedarea_read16(id: int, position: int) -> int:
    """Read a signed number of 16 bits from a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_read16`.
    """
    return _read("sharedarea_read16", id, lambda area: area.read_number(position, 16))


def sharedarea_read32(id: int, position: int) -> int:
    """Read a signed number of 32 bits from a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_read32`.
    """
    return _read("sharedarea_read32", id, lambda area: area.read_number(position, 32))


def sharedarea_read64(id: int, position: int) -> int:
    """Read a signed number of 64 bits from a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_read64`, also `sharedarea_readlong`.
    """
    return _read("sharedarea_read64", id, lambda area: area.read_number(position, 64))


def sharedarea_write8(id: int, position: int, value: int) -> None:
    """Write a number of 8 bits into a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
        value: a signed or an unsigned number; the upper half of the unsigned ones reads as negative.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes, or the number does not fit.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_write8`, also `sharedarea_writebyte`. It cuts off bits that do not fit.
    """
    _change("sharedarea_write8", id, lambda area: area.write_number(position, 8, value))


def sharedarea_write16(id: int, position: int, value: int) -> None:
    """Write a number of 16 bits into a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
        value: a signed or an unsigned number; the upper half of the unsigned ones reads as negative.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes, or the number does not fit.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_write16`, which cuts off bits that do not fit.
    """
    _change("sharedarea_write16", id, lambda area: area.write_number(position, 16, value))


def sharedarea_write32(id: int, position: int, value: int) -> None:
    """Write a number of 32 bits into a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
        value: a signed or an unsigned number; the upper half of the unsigned ones reads as negative.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes, or the number does not fit.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_write32`, which cuts off bits that do not fit.
    """
    _change("sharedarea_write32", id, lambda area: area.write_number(position, 32, value))


def sharedarea_write64(id: int, position: int, value: int) -> None:
    """Write a number of 64 bits into a shared area, in the machine's order of bytes.

    Args:
        id: the number of the area, from 0.
        position: of its first byte, which may be any.
        value: a signed or an unsigned number; the upper half of the unsigned ones reads as negative.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes, or the number does not fit.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_write64`, also `sharedarea_writelong`.
    """
    _change("sharedarea_write64", id, lambda area: area.write_number(position, 64, value))


def sharedarea_inc32(id: int, position: int, amount: int = 1) -> None:
    """Add to a number of 32 bits in a shared area. No change of another member is lost.

    Args:
        id: the number of the area, from 0.
        position: of its first byte.
        amount: what to add; beyond the largest number follows the smallest.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_inc32`.
    """
    _change("sharedarea_inc32", id, lambda area: area.add(position, 32, amount))


def sharedarea_inc64(id: int, position: int, amount: int = 1) -> None:
    """Add to a number of 64 bits in a shared area. No addition of another member is lost.

    Args:
        id: the number of the area, from 0.
        position: of its first byte.
        amount: what to add; beyond the largest number follows the smallest.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_inc64`, also `sharedarea_inclong`.
    Example:
        uwsgi.sharedarea_inc64(0, 8)  # Config(sharedarea=[4096])
    """
    _change("sharedarea_inc64", id, lambda area: area.add(position, 64, amount))


def sharedarea_dec32(id: int, position: int, amount: int = 1) -> None:
    """Subtract from a number of 32 bits in a shared area. No change of another member is lost.

    Args:
        id: the number of the area, from 0.
        position: of its first byte.
        amount: what to subtract; below the smallest number follows the largest.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_dec32`.
    """
    _change("sharedarea_dec32", id, lambda area: area.add(position, 32, -amount))


def sharedarea_dec64(id: int, position: int, amount: int = 1) -> None:
    """Subtract from a number of 64 bits in a shared area. No change of another member is lost.

    Args:
        id: the number of the area, from 0.
        position: of its first byte.
        amount: what to subtract; below the smallest number follows the largest.
    Raises:
        SharedAreaError: there is no such area, or it does not have these bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_dec64`.
    """
    _change("sharedarea_dec64", id, lambda area: area.add(position, 64, -amount))


def sharedarea_memoryview(id: int) -> memoryview:
    """Return the bytes of a shared area themselves, to read and to write.

    Others may see a part of what is written through it. Call `sharedarea_update` afterwards, if tasks may wait for the
    change. Hold a user lock (`uwsgi.locked`) where several steps belong together.

    Args:
        id: the number of the area, from 0.
    Raises:
        SharedAreaError: there is no such area.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.sharedarea_memoryview`.
    """
    return current_unit("sharedarea_memoryview", _REMEDY).member.services.areas.area(id).view


def sharedarea_update(id: int) -> None:
    """Announce a change that was made through `sharedarea_memoryview` to the tasks that wait for one.

    Args:
        id: the number of the area, from 0.
    Raises:
        SharedAreaError: there is no such area.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: a function of its C core, which the Python module does not have.
    """
    _change("sharedarea_update", id, lambda area: None)


@awaited
async def sharedarea_wait(id: int, seen: int | None = None) -> int:
    """Wait until a shared area is changed, by any member.

    Args:
        id: the number of the area, from 0.
        seen: the result of the call before. If there was a change since then, this returns at once, so that none is
            missed. None waits for the next change.
    Returns:
        The number of changes so far, for the next call.
    Raises:
        SharedAreaError: there is no such area.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: always.
    Cancellation: this task no longer waits.
    uWSGI: a function of its C core, which the Python module does not have, and which looks again and again.
    Example:
        @uwsgi.mule(1)
        async def watch():
            seen = None
            while True:
                seen = await uwsgi.sharedarea_wait(0, seen)
                print("the number is now", uwsgi.sharedarea_read64(0, 8))
    """
    return await current_unit("sharedarea_wait", _REMEDY).member.services.areas.wait(id, seen)


def _read(call: str, number: int, act: Callable[[Area], T]) -> T:
    with current_unit(call, _REMEDY).member.services.areas.locked(number) as area:
        return act(area)


def _change(call: str, number: int, act: Callable[[Area], None]) -> None:
    areas = current_unit(call, _REMEDY).member.services.areas
    with areas.locked(number) as area:
        act(area)
        is_awaited = area.changed()
    if is_awaited:
        on_trios_thread(areas.announce, number)
