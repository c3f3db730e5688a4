"""Shared areas of the module `uwsgi`. Its functions are there where the runtime has an area.

Unknown areas and bytes outside of an area raise `SharedAreaError`, which is a ValueError, as in uWSGI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi import uwsgi as native
from trio_uwsgi._locks.locks import AreaLock
from trio_uwsgi.compat.answers import as_data, whole
from trio_uwsgi.compat.calling import serving_member, waiting

if TYPE_CHECKING:
    from trio_uwsgi.compat.answers import Data

__all__ = [
    "sharedarea_dec32",
    "sharedarea_dec64",
    "sharedarea_inc32",
    "sharedarea_inc64",
    "sharedarea_inclong",
    "sharedarea_memoryview",
    "sharedarea_object",
    "sharedarea_read",
    "sharedarea_read8",
    "sharedarea_read16",
    "sharedarea_read32",
    "sharedarea_read64",
    "sharedarea_readbyte",
    "sharedarea_readlong",
    "sharedarea_rlock",
    "sharedarea_unlock",
    "sharedarea_wlock",
    "sharedarea_write",
    "sharedarea_write8",
    "sharedarea_write16",
    "sharedarea_write32",
    "sharedarea_write64",
    "sharedarea_writebyte",
    "sharedarea_writelong",
]


def sharedarea_read(id: int, position: int, length: int = 0, /) -> bytes:
    """Read bytes of an area; without a length, all up to its end."""
    return native.sharedarea_read(whole(id), whole(position), whole(length) or None)


def sharedarea_write(id: int, position: int, value: Data, /) -> None:
    """Write bytes into an area; a str becomes UTF-8."""
    native.sharedarea_write(whole(id), whole(position), as_data("sharedarea_write", value))


def sharedarea_read8(id: int, position: int, /) -> int:
    """Read a signed number of 8 bits."""
    return native.sharedarea_read8(whole(id), whole(position))


def sharedarea_read16(id: int, position: int, /) -> int:
    """Read a signed number of 16 bits."""
    return native.sharedarea_read16(whole(id), whole(position))


def sharedarea_read32(id: int, position: int, /) -> int:
    """Read a signed number of 32 bits."""
    return native.sharedarea_read32(whole(id), whole(position))


def sharedarea_read64(id: int, position: int, /) -> int:
    """Read a signed number of 64 bits."""
    return native.sharedarea_read64(whole(id), whole(position))


def sharedarea_write8(id: int, position: int, value: int, /) -> None:
    """Write a number of 8 bits.

    uWSGI: a number that does not fit is refused; there its upper bits are cut off.
    """
    native.sharedarea_write8(whole(id), whole(position), whole(value))


def sharedarea_write16(id: int, position: int, value: int, /) -> None:
    """Write a number of 16 bits.

    uWSGI: as `sharedarea_write8`.
    """
    native.sharedarea_write16(whole(id), whole(position), whole(value))


def sharedarea_write32(id: int, position: int, value: int, /) -> None:
    """Write a number of 32 bits.

    uWSGI: as `sharedarea_write8`.
    """
    native.sharedarea_write32(whole(id), whole(position), whole(value))


def sharedarea_write64(id: int, position: int, value: int, /) -> None:
    """Write a number of 64 bits."""
    native.sharedarea_write64(whole(id), whole(position), whole(value))


def sharedarea_inc32(id: int, position: int, increment: int = 1, /) -> None:
    """Add to a number of 32 bits; beyond the largest number follows the smallest."""
    native.sharedarea_inc32(whole(id), whole(position), whole(increment))


def sharedarea_inc64(id: int, position: int, increment: int = 1, /) -> None:
    """Add to a number of 64 bits; beyond the largest number follows the smallest."""
    native.sharedarea_inc64(whole(id), whole(position), whole(increment))


def sharedarea_dec32(id: int, position: int, decrement: int = 1, /) -> None:
    """Subtract from a number of 32 bits; below the smallest number follows the largest."""
    native.sharedarea_dec32(whole(id), whole(position), whole(decrement))


def sharedarea_dec64(id: int, position: int, decrement: int = 1, /) -> None:
    """Subtract from a number of 64 bits; below the smallest number follows the largest."""
    native.sharedarea_dec64(whole(id), whole(position), whole(decrement))


def sharedarea_memoryview(id: int, /) -> memoryview:
    """Return the bytes of an area themselves, to read and to write."""
    return native.sharedarea_memoryview(whole(id))


def sharedarea_object(id: int, /) -> memoryview:
    """Return the bytes of an area themselves, to read and to write.

    uWSGI: a memoryview; there it is a bytearray, and only of an area that was made with one.
    """
    return native.sharedarea_memoryview(whole(id))


def sharedarea_wlock(id: int, /) -> None:
    """Acquire the lock of an area, and wait for it if it is held.

    uWSGI: it is a lock as those of `lock`. It keeps out those who ask for it, and not who only reads or writes, which
        waits for it there. A second call by the holder raises `LockError`.
    """
    waiting(native.lock, _lock_of("sharedarea_wlock", id))


def sharedarea_rlock(id: int, /) -> None:
    """Acquire the lock of an area, and wait for it if it is held.

    uWSGI: as `sharedarea_wlock`. It keeps out others who call it, too.
    """
    waiting(native.lock, _lock_of("sharedarea_rlock", id))


def sharedarea_unlock(id: int, /) -> None:
    """Release the lock of an area.

    uWSGI: for a lock that the caller does not hold this raises `LockError`.
    """
    native.unlock(_lock_of("sharedarea_unlock", id))


def _lock_of(call: str, id: int) -> AreaLock:
    number = whole(id)
    serving_member(call).services.areas.area(number)
    return AreaLock(number)


sharedarea_readbyte = sharedarea_read8
sharedarea_readlong = sharedarea_read64
sharedarea_writebyte = sharedarea_write8
sharedarea_writelong = sharedarea_write64
sharedarea_inclong = sharedarea_inc64
