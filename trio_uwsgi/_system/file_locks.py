"""Locks on whole files, as uWSGI takes them on spool files.

uWSGI uses POSIX write locks, which belong to a process: they do not exclude two tasks of one process from each other,
and any `close` of the file in that process drops them. Linux has locks that belong to the open file and conflict with
POSIX locks (`F_OFD_SETLK`); these are used here. On other systems it is `flock`, which on the BSDs conflicts with POSIX
locks.

A forked process shares the open file, and so would keep the lock: hence call `unlock` before `close`.
"""

from __future__ import annotations

import fcntl
import struct

__all__ = ["locked_elsewhere", "try_lock", "unlock"]

_OPEN_FILE = hasattr(fcntl, "F_OFD_SETLK")
# struct flock: type, whence, start, length (0: to the end of the file, however long it gets), and a pid that must be 0.
_FLOCK = struct.Struct("hhqqi4x")
_WRITE = _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0)
_NONE = _FLOCK.pack(fcntl.F_UNLCK, 0, 0, 0, 0)


def try_lock(fd: int) -> bool:
    """Lock a file that is open for writing; False if it is locked already. Never waits."""
    try:
        if _OPEN_FILE:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WRITE)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, depending on the system
        return False
    return True


def unlock(fd: int) -> None:
    """Release the lock."""
    if _OPEN_FILE:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _NONE)
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)


def locked_elsewhere(fd: int) -> bool:
    """Whether the file is locked through another open file. This one may be open for reading only."""
    if _OPEN_FILE:
        kind: int = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WRITE))[0]
        return kind != fcntl.F_UNLCK
    if try_lock(fd):
        unlock(fd)
        return False
    return True
