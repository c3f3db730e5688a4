"""The file watcher: notices that files were touched, or that Python code changed."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import trio

from trio_uwsgi._system.inotify import open_watch
from trio_uwsgi._units.journal import only_error
from trio_uwsgi.errors import ConfigError

__all__ = ["Stamps", "require_watchfiles", "stamps_of", "watch_files", "watch_sources"]

logger = logging.getLogger("trio_uwsgi")

# Seconds between two checks, where the system does not report changes.
_INTERVAL = 1.0

# Touching a file causes several events, but one change of this. None: the file does not exist.
_Stamp: TypeAlias = "tuple[int, int, int] | None"
Stamps: TypeAlias = dict[str, _Stamp]


def stamps_of(files: Sequence[str]) -> Stamps:
    """The current stamps of these files, by absolute path."""
    return {file: _stamp(file) for file in map(os.path.abspath, files)}


async def watch_files(known: Stamps, report: Callable[[str], None]) -> None:
    """Call `report` with a file's path when its stamp differs from `known`: it was touched, written, replaced or
    created. Until cancelled. A removal is not reported.
    """
    with contextlib.ExitStack() as stack:
        watch = open_watch()
        if watch is not None:
            stack.enter_context(watch)
            folders = {os.path.dirname(file) for file in known}
            if not all(watch.add(folder) for folder in folders):
                watch = None
        while True:
            for file, before in known.items():
                known[file] = after = _stamp(file)
                if after not in (before, None):
                    report(file)
            if watch is None:
                await trio.sleep(_INTERVAL)
            else:
                await watch.changes()


def _stamp(file: str) -> _Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def require_watchfiles() -> None:
    """Raises ConfigError if watchfiles is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("reload needs watchfiles", "pip install 'trio-uwsgi[reload]', or use touch_reload") from None


async def watch_sources(folders: Sequence[str], report: Callable[[str], None]) -> None:
    """Call `report` with the path of a Python file below these folders when files have changed; until cancelled.

    Hidden folders, virtual environments and caches are left out, as in watchfiles. If the system refuses to watch, for
    example because a folder is not readable, there is one warning, and the files are checked at intervals.
    """
    refused = await _watch_by_system(folders, report)
    read_stamps = functools.partial(_sources, folders)
    known = await trio.to_thread.run_sync(read_stamps)
    logger.warning("cannot watch the code for changes (%s); checking it every %g s instead", refused, _INTERVAL)
    while True:
        await trio.sleep(_INTERVAL)
        before, known = known, await trio.to_thread.run_sync(read_stamps)
        if changed := [file for file, _ in before.items() ^ known.items()]:
            report(min(changed))


async def _watch_by_system(folders: Sequence[str], report: Callable[[str], None]) -> str:
    """As `watch_sources`, until the system refuses; returns the reason."""
    from watchfiles import PythonFilter, awatch

    refused = ""
    stop = trio.Event()  # its thread checks this often, and otherwise only ends after seconds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_when_cancelled, stop)
        changes = awatch(*folders, watch_filter=PythonFilter(), stop_event=stop)
        while not refused:
            found: Collection[tuple[object, str]] | None = ()
            try:
                found = await anext(changes, None)
            except* (OSError, RuntimeError) as group:  # errors of its thread are RuntimeErrors
                refused = str(only_error(group))
            if found:
                report(min(path for _, path in found))
            elif found is None:  # it was cancelled, and ended its iteration
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    return refused


def _sources(folders: Sequence[str]) -> Stamps:
    """The stamps of the Python files below these folders, as far as they are readable."""
    found: Stamps = {}
    for folder in folders:
        for path, inner, files in os.walk(folder):
            if "pyvenv.cfg" in files:  # a virtual environment
                inner.clear()
                continue
            inner[:] = [name for name in inner if not _is_ignored(name)]
            for file in (os.path.join(path, name) for name in files if name.endswith(".py")):
                if (stamp := _stamp(file)) is not None:
                    found[file] = stamp
    return found


def _is_ignored(folder: str) -> bool:
    return folder.startswith(".") or folder in ("__pycache__", "node_modules", "site-packages")


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()
