"""Notices that files change, also those that are replaced, removed, or do not exist yet.

Theory. A path is watched in two ways: what it leads to, for changes in it; and the directory in which its name is, for
a file that comes, goes or is replaced. Where that directory does not exist, it is the nearest one above that does, and
the name of the next one. After every change that concerns a path, its watches are set anew.

Where the system has no inotify, what `os.stat` says is compared every second.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from trio_uwsgi._system.inotify import (
    ADD_TO_MASK,
    ALL_CHANGES,
    IGNORED,
    MODIFY,
    NAME_CHANGES,
    OVERFLOW,
    open_notices,
    warn_not_watched,
)

if TYPE_CHECKING:
    from trio_uwsgi._system.inotify import Notices

__all__ = ["PathWatch", "open_path_watch"]

# Seconds between two looks, where the system does not report changes.
_INTERVAL = 1.0

_ABSENT = (errno.ENOENT, errno.ENOTDIR)

_Stamp: TypeAlias = "tuple[list[tuple[int, ...] | None], list[str]]"


class PathWatch(Protocol):
    """Watched paths, which are absolute."""

    def add(self, path: str) -> None:
        """Watch another path. If the system refuses, that is logged."""

    def remove(self, path: str) -> None:
        """Watch a path no longer."""

    async def changed(self) -> set[str]:
        """Wait for changes, and return the paths that they concern.

        Checkpoint: always.
        Cancellation: nothing is lost; the next call returns it.
        """

    def close(self) -> None:
        """Stop watching."""


def open_path_watch() -> PathWatch:
    """Start watching. An inotify instance is opened; close it."""
    notices = open_notices("files", f"files are compared every {_INTERVAL:g} s")
    return _Compared() if notices is None else _Noticed(notices)


class _Noticed:
    """Paths that the system watches."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        # For each path its watches, with the name that matters in that directory; "" where every change does.
        self._watches: dict[str, set[tuple[int, bytes]]] = {}
        self._wanted: dict[int, set[tuple[str, bytes]]] = {}  # the same by watch
        self._files: dict[str, tuple[int, int] | None] = {}  # the device and inode that each path leads to
        self._refused: set[str] = set()

    def add(self, path: str) -> None:
        self._set_watches(path)

    def remove(self, path: str) -> None:
        del self._files[path]
        self._keep(path, set())

    async def changed(self) -> set[str]:
        await trio.lowlevel.checkpoint()
        while not (found := self._read()):
            await self._notices.wait()
        return found

    def close(self) -> None:
        self._notices.close()

    def _read(self) -> set[str]:
        changed: set[str] = set()
        touched: set[str] = set()  # their names changed, or those of directories above them
        for watch, mask, name in self._notices.read():
            if mask & OVERFLOW:  # changes were lost
                changed.update(self._files)
                touched.update(self._files)
            wanted = self._wanted.pop(watch, set()) if mask & IGNORED else self._wanted.get(watch, set())
            for path, matters in wanted:
                if not matters and not mask & IGNORED:
                    changed.add(path)
                if mask != MODIFY and (not matters or name in (matters, b"")):
                    touched.add(path)
        for path in touched:
            before = self._files[path]
            self._set_watches(path)
            if self._files[path] != before:
                changed.add(path)
        return changed

    def _set_watches(self, path: str) -> None:
        watches = set()
        folder, name = os.path.split(path)
        # The name first: a file that comes between the two is noticed then.
        while (watch := self._watch(folder, NAME_CHANGES)) < 0 and folder != os.sep:
            folder, name = os.path.split(folder)
        if watch >= 0:
            watches.add((watch, os.fsencode(name)))
        if (watch := self._watch(path, ALL_CHANGES)) >= 0:
            watches.add((watch, b""))
        self._files[path] = _identity(path)
        self._keep(path, watches)

    def _watch(self, path: str, mask: int) -> int:
        watch = self._notices.watch(path, mask | ADD_TO_MASK)
        if watch < 0 and -watch not in _ABSENT and path not in self._refused:
            self._refused.add(path)
            warn_not_watched(path, -watch)
        return watch

    def _keep(self, path: str, watches: set[tuple[int, bytes]]) -> None:
        """Have these watches, and no others, be for a path."""
        before = self._watches.pop(path, set())
        if watches:
            self._watches[path] = watches
        for watch, name in watches - before:
            self._wanted.setdefault(watch, set()).add((path, name))
        for watch, name in before - watches:
            if (wanted := self._wanted.get(watch)) is not None:
                wanted.discard((path, name))
                if not wanted:
                    del self._wanted[watch]
                    self._notices.unwatch(watch)


class _Compared:
    """Paths that are looked at again and again."""

    def __init__(self) -> None:
        self._known: dict[str, _Stamp] = {}

    def add(self, path: str) -> None:
        self._known[path] = _stamp(path)

    def remove(self, path: str) -> None:
        del self._known[path]

    async def changed(self) -> set[str]:
        while True:
            await trio.sleep(_INTERVAL)
            before, self._known = self._known, {path: _stamp(path) for path in self._known}
            if found := {path for path, stamp in self._known.items() if stamp != before[path]}:
                return found

    def close(self) -> None:
        """There is nothing to close."""


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stamp(path: str) -> _Stamp:
    """What differs after a change of the file, or of a directory's entries."""
    try:
        entries = sorted(os.listdir(path))
    except OSError:
        entries = []
    return [_status(os.path.join(path, entry) if entry else path) for entry in ("", *entries)], entries


def _status(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns
