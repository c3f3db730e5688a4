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
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["RESCAN", "Change", "Notices", "Watch", "is_local", "open_notices", "open_watch", "warn_not_watched"]

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

# For `path_watch.py`: all changes of a file or of a directory's entries; what names of a directory stand for; and what
# is reported whether it was asked for or not.
MODIFY = 0x2
ALL_CHANGES = MODIFY | _ATTRIB | _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO | _ITSELF
NAME_CHANGES = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO | _ITSELF | _ONLY_DIR
ADD_TO_MASK = 0x20000000
OVERFLOW = _OVERFLOW
IGNORED = _IGNORED

_EVENT = Struct("iIII")  # watch, mask, cookie, bytes of the name that follows
# From <linux/magic.h>: ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, ZFS, F2FS, overlayfs, bcachefs. All changes to these go
# through this kernel. Changes by other machines on a network file system, or behind FUSE, are not reported.
_LOCAL = {
    *(0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x858458F6, 0x2FC12FC1, 0xF2F52010, 0x794C7630, 0xCA451A4E),
}

# Room for about 1,000 events. Others are queued in the kernel, which holds 16,384 and then reports an overflow.
_READ = 65536


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


class Notice(NamedTuple):
    """What the system reported: the number of the watch, the bits of the change, and the name in a directory."""

    watch: int
    mask: int
    name: bytes


class Notices:
    """An inotify instance. Close it, or use it with `with`; a task that waits then gets ClosedResourceError.

    Args:
        fd: its descriptor, which this object owns.
        add: the function `inotify_add_watch` of the C library.
        remove: the function `inotify_rm_watch`.
    """

    __slots__ = ("_add", "_fd", "_remove")

    def __init__(self, fd: int, add: Any, remove: Any) -> None:  # Any: functions of the C library
        self._fd = fd
        self._add = add
        self._remove = remove

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            trio.lowlevel.notify_closing(fd)
            os.close(fd)

    def watch(self, path: str, mask: int) -> int:
        """Watch a path. Returns the number of its watch, the same for the same file; below 0, `-errno` says why not."""
        watch: int = self._add(self._fd, os.fsencode(path), mask)
        return watch if watch >= 0 else -ctypes.get_errno()

    def unwatch(self, watch: int) -> None:
        """Remove a watch; the file may be gone already."""
        self._remove(self._fd, watch)

    async def wait(self) -> None:
        """Wait until there are notices.

        Checkpoint: always.
        """
        if self._fd < 0:
            raise trio.ClosedResourceError("the watch was closed")
        await trio.lowlevel.wait_readable(self._fd)

    def read(self) -> Iterator[Notice]:
        """The notices that wait, at most a thousand or so."""
        if self._fd < 0:
            raise trio.ClosedResourceError("the watch was closed")
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, mask, _, size = _EVENT.unpack_from(data, position)
            begin = position + _EVENT.size
            position = begin + size
            yield Notice(watch, mask, data[begin:position].rstrip(b"\0"))


class Watch(Notices):
    """Watched directories; after it was closed `changes` raises ClosedResourceError."""

    __slots__ = ("_folders", "_removals")

    def __init__(self, fd: int, add: Any, remove: Any, removals: int) -> None:
        super().__init__(fd, add, remove)
        self._removals = removals
        self._folders: dict[int, str] = {}

    def add(self, folder: str, *, removals: bool = False) -> bool:
        """Watch another directory; False if that fails, which is logged. Watching it twice has no effect.

        Files that exist already are not reported: so add the directory first, and scan it then.

        Args:
            removals: also report removed files.
        """
        mask = _WATCHED | (_REMOVALS if removals else self._removals)
        watch = self.watch(folder, mask)
        if watch < 0:
            warn_not_watched(folder, -watch)
            return False
        self._folders[watch] = folder
        return True

    def add_itself(self, folder: str) -> bool:
        """Report when this directory is moved or removed, but no changes in it; False if that fails."""
        watch = self.watch(folder, _ITSELF | _ONLY_DIR)
        if watch >= 0:
            self._folders.setdefault(watch, "")
        return watch >= 0

    async def changes(self) -> list[Change]:
        """Wait for changes, and return them in their order; a change may be reported more than once.

        Checkpoint: always.
        Cancellation: nothing is lost; the next call returns it.
        """
        await trio.lowlevel.checkpoint()
        while True:
            # Read only after all checkpoints: events that were read must be returned.
            found = [change for notice in self.read() if (change := self._change(notice)) is not None]
            if found:
                return found
            await self.wait()

    def _change(self, notice: Notice) -> Change | None:
        watch, mask, name = notice
        if mask & (_OVERFLOW | _UNMOUNT | _ITSELF):
            return RESCAN
        if mask & _IGNORED:
            self._folders.pop(watch, None)  # the directory was removed
        elif mask & (_FOLDERS if mask & _IS_DIR else _FILES | _REMOVALS) and watch in self._folders and name:
            return Change(self._folders[watch], os.fsdecode(name), bool(mask & _IS_DIR))
        return None


def warn_not_watched(path: str, number: int) -> None:
    """Log that the system refused to watch a path, with this error number."""
    more = "; raise fs.inotify.max_user_watches" if number == errno.ENOSPC else ""
    logger.warning("cannot watch %s (%s)%s", path, os.strerror(number), more)


def is_local(folder: str) -> bool:
    """Whether a directory is on a local file system, where all changes are reported."""
    status = ctypes.create_string_buffer(1024)  # a `struct statfs`, of about 120 bytes
    if ctypes.CDLL(None).statfs(os.fsencode(folder), status):
        return False
    return ctypes.c_ulong.from_buffer(status).value in _LOCAL  # `f_type` comes first


def open_watch(*, removals: bool = False) -> Watch | None:
    """Start watching directories; None, which is logged, if the system has no inotify, or refuses another instance.

    Args:
        removals: also report removed files.
    """
    opened = _open("directories", "changes by other processes are noticed at the next scan of the directory")
    return None if opened is None else Watch(*opened, _REMOVALS if removals else 0)


def open_notices(what: str, instead: str) -> Notices | None:
    """Start watching; None, which is logged, if the system has no inotify, or refuses another instance.

    Args:
        what: what is to be watched, for the log.
        instead: what holds without inotify, for the log.
    """
    opened = _open(what, instead)
    return None if opened is None else Notices(*opened)


def _open(what: str, instead: str) -> tuple[int, Any, Any] | None:
    if not sys.platform.startswith("linux"):
        logger.info("this system has no inotify: %s", instead)
        return None
    library = ctypes.CDLL(None, use_errno=True)
    try:
        start, add, remove = library.inotify_init1, library.inotify_add_watch, library.inotify_rm_watch
    except AttributeError:
        logger.info("the C library has no inotify: %s", instead)
        return None
    start.argtypes, start.restype = [ctypes.c_int], ctypes.c_int
    add.argtypes, add.restype = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32], ctypes.c_int
    remove.argtypes, remove.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    fd = start(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        logger.warning(
            "cannot watch %s (%s): %s; raise fs.inotify.max_user_instances",
            *(what, os.strerror(ctypes.get_errno()), instead),
        )
        return None
    return fd, add, remove
