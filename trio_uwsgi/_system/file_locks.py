"""Locks on whole files, as uWSGI takes them on spool files.

uWSGI's are POSIX write locks, which belong to a process: they do not keep two tasks of one process apart, and any
`close` of the file anywhere in it drops them. Linux has another kind that belongs to the open file and conflicts with
those (`F_OFD_SETLK`); that is what is used. Where there is none it is `flock`, which the BSDs keep in one table with
POSIX locks.

A process that was forked shares the open file, and so keeps such a lock alive: hence `unlock`, before `close`.
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
    """Lock a file that is open for writing; False if somebody else has. Never waits."""
    try:
        if _OPEN_FILE:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WRITE)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
        return False
    return True


def unlock(fd: int) -> None:
    """Give the lock up."""
    if _OPEN_FILE:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _NONE)
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)


def locked_elsewhere(fd: int) -> bool:
    """Has somebody else locked this file? It may be open for reading only."""
    if _OPEN_FILE:
        kind: int = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WRITE))[0]
        return kind != fcntl.F_UNLCK
    if try_lock(fd):
        unlock(fd)
        return False
    return True
