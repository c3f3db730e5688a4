"""Watch directories for changes with Linux's inotify, through ctypes.

The changes that are reported, and their usual causes:

    a file that was open for writing was closed   uWSGI and `write`, when a job is complete and no longer locked;
                                                  `touch`, `cp`; a claim that ended with its job still in place
    a file was moved into the directory           `mv`
    a file's times, mode or owner changed         `touch -c`, `chmod` of an unreadable file
    a directory was created or moved in           a new priority
    the directory itself was moved or removed     reported as `RESCAN`

Not reported are the creation of a file (only its `close`), and changes to a file after its removal, which is how `done`
ends. Where the system has no inotify, `open_watch` returns None, and the caller scans at intervals.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RESCAN", "Change", "Watch", "is_local", "open_watch"]

logger = logging.getLogger("trio_uwsgi")

# From <sys/inotify.h>; the same on every Linux.
_ATTRIB = 0x4
_CLOSE_WRITE = 0x8
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_DELETE_SELF = 0x400
_MOVE_SELF = 0x800
_UNMOUNT = 0x2000
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_IS_DIR = 0x40000000
_ONLY_DIR = 0x01000000
_EXCEPT_REMOVED = 0x04000000
_ITSELF = _DELETE_SELF | _MOVE_SELF
_WATCHED = _ATTRIB | _CLOSE_WRITE | _MOVED_TO | _CREATE | _ITSELF | _ONLY_DIR | _EXCEPT_REMOVED
_FILES = _ATTRIB | _CLOSE_WRITE | _MOVED_TO
_FOLDERS = _MOVED_TO | _CREATE
_REMOVALS = _MOVED_FROM | _DELETE

_EVENT = Struct("iIII")  # watch, mask, cookie, bytes of the name that follows
# From <linux/magic.h>: ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, ZFS, F2FS, overlayfs, bcachefs. All changes to these go
# through this kernel. Changes by other machines on a network file system, or behind FUSE, are not reported.
_LOCAL = {
    *(0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x858458F6, 0x2FC12FC1, 0xF2F52010, 0x794C7630, 0xCA451A4E),
}

# Room for about 1,000 events. Others are queued in the kernel, which holds 16,384 and then reports an overflow.
_READ = 65536

_INSTEAD = "changes by other processes are noticed at the next scan of the directory"


class Change(NamedTuple):
    """A change. With all three empty (`RESCAN`) changes were lost, and the directory has to be scanned.

    Args:
        folder: the directory, as it was given to `add`.
        file: the name of the file in that directory.
        is_folder: whether that is a directory.
    """

    folder: str
    file: str
    is_folder: bool


RESCAN = Change("", "", False)


class Watch:
    """Watched directories. Close it, or use it with `with`; after that `changes` raises ClosedResourceError."""

    __slots__ = ("_add", "_fd", "_folders", "_removals")

    def __init__(self, fd: int, add: Any, removals: int) -> None:  # Any: a function of the C library
        self._fd = fd
        self._add = add
        self._removals = removals
        self._folders: dict[int, str] = {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, folder: str, *, removals: bool = False) -> bool:
        """Watch another directory; False if that fails, which is logged. Watching it twice has no effect.

        Files that exist already are not reported: so add the directory first, and scan it then.

        Args:
            removals: also report removed files.
        """
        mask = _WATCHED | (_REMOVALS if removals else self._removals)
        watch = self._add(self._fd, os.fsencode(folder), mask)
        if watch < 0:
            number = ctypes.get_errno()
            more = "; raise fs.inotify.max_user_watches" if number == errno.ENOSPC else ""
            logger.warning("cannot watch %s (%s)%s", folder, os.strerror(number), more)
            return False
        self._folders[watch] = folder
        return True

    def add_itself(self, folder: str) -> bool:
        """Report when this directory is moved or removed, but no changes in it; False if that fails."""
        watch = self._add(self._fd, os.fsencode(folder), _ITSELF | _ONLY_DIR)
        if watch >= 0:
            self._folders.setdefault(watch, "")
        return bool(watch >= 0)

    async def changes(self) -> list[Change]:
        """Wait for changes, and return them in their order; a change may be reported more than once.

        Checkpoint: always.
        Cancellation: nothing is lost; the next call returns it.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._fd < 0:
                raise trio.ClosedResourceError("the watch was closed")
            # Read only after all checkpoints: events that were read must be returned.
            found = self._read()
            if found:
                return found
            await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        """Stop watching. A task that waits in `changes` gets ClosedResourceError."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            trio.lowlevel.notify_closing(fd)
            os.close(fd)

    def _read(self) -> list[Change]:
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return []
        found: list[Change] = []
        position = 0
        while position < len(data):
            watch, mask, _, size = _EVENT.unpack_from(data, position)
            begin = position + _EVENT.size
            position = begin + size
            if mask & (_OVERFLOW | _UNMOUNT | _ITSELF):
                found.append(RESCAN)
            elif mask & _IGNORED:
                self._folders.pop(watch, None)  # the directory was removed
            elif mask & (_FOLDERS if mask & _IS_DIR else _FILES | _REMOVALS) and watch in self._folders and size:
                name = os.fsdecode(data[begin:position].rstrip(b"\0"))
                found.append(Change(self._folders[watch], name, bool(mask & _IS_DIR)))
        return found


def is_local(folder: str) -> bool:
    """Whether a directory is on a local file system, where all changes are reported."""
    status = ctypes.create_string_buffer(1024)  # a `struct statfs`, of about 120 bytes
    if ctypes.CDLL(None).statfs(os.fsencode(folder), status):
        return False
    return ctypes.c_ulong.from_buffer(status).value in _LOCAL  # `f_type` comes first


def open_watch(*, removals: bool = False) -> Watch | None:
    """Start watching; None, which is logged, if the system has no inotify, or refuses another instance.

    Args:
        removals: also report removed files.
    """
    if not sys.platform.startswith("linux"):
        logger.info("this system has no inotify: %s", _INSTEAD)
        return None
    library = ctypes.CDLL(None, use_errno=True)
    try:
        start, add = library.inotify_init1, library.inotify_add_watch
    except AttributeError:
        logger.info("the C library has no inotify: %s", _INSTEAD)
        return None
    start.argtypes, start.restype = [ctypes.c_int], ctypes.c_int
    add.argtypes, add.restype = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32], ctypes.c_int
    fd = start(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        logger.warning(
            "cannot watch directories (%s): %s; raise fs.inotify.max_user_instances",
            os.strerror(ctypes.get_errno()),
            _INSTEAD,
        )
        return None
    return Watch(fd, add, _REMOVALS if removals else 0)
