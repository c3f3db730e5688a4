"""Locks on single bytes of a file. The kernel keeps them for whoever has opened the file, and releases them with the
process.

They are Linux's open file description locks, on bytes beyond the end of the file. Each object opens the file anew, so
two of one process exclude each other.
"""

from __future__ import annotations

import fcntl
import os
import struct

from trio_uwsgi._system.close_on_fork import close_in_forked_children

__all__ = ["ByteLocks", "open_byte_locks"]

_FLOCK = struct.Struct("@hhqqi4x")  # type, whence, start, length, process
_FIRST = 1 << 40  # the first byte: no file has it, so no other lock is there (`process_locks.py`)
_SET = getattr(fcntl, "F_OFD_SETLK", None)


class ByteLocks:
    """The locks that one process, or one part of it, holds on the bytes of a file.

    Args:
        descriptor: of the file, opened for this object alone, which owns it.
        count: how many bytes have locks.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        self._descriptor = descriptor
        self._take, self._release = (
            [_FLOCK.pack(kind, os.SEEK_SET, _FIRST + place, 1, 0) for place in range(count)]
            for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK)
        )
        close_in_forked_children(self)

    def take(self, place: int) -> bool:
        """Lock this byte, from the end if it is below 0. False: another one has locked it. Never waits."""
        assert _SET is not None
        try:
            fcntl.fcntl(self._descriptor, _SET, self._take[place])
        except OSError:  # it is locked; or the kernel has no memory for one more lock
            return False
        except ValueError:  # this is a forked child
            return False
        return True

    def release(self, place: int) -> None:
        """Unlock this byte."""
        if not self.closed:
            assert _SET is not None
            fcntl.fcntl(self._descriptor, _SET, self._release[place])

    @property
    def closed(self) -> bool:
        """Was it closed? In a forked child it is."""
        return self._descriptor < 0

    def close(self) -> None:
        """Release all. A second call has no effect."""
        if not self.closed:
            os.close(self._descriptor)
            self._descriptor = -1

    def close_copies(self) -> None:
        """In a forked child, whose copy would keep the locks when this process has ended."""
        self.close()


def open_byte_locks(descriptor: int, count: int) -> ByteLocks | None:
    """Locks on the first bytes of this open file. None: the system has none, or refuses them."""
    if _SET is None:
        return None
    locks = None
    try:
        locks = ByteLocks(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC), count)
        locks.release(0)  # nothing, if the system has such locks
    except OSError:
        if locks is not None:
            locks.close()
        return None
    return locks
