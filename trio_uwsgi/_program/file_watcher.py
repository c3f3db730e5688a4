"""Noticing that files were touched, or that Python code was changed."""

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

# Seconds between two looks, where the system does not tell.
_INTERVAL = 1.0

# Touching a file causes several events, and one change of this. None: it does not exist.
_Stamp: TypeAlias = "tuple[int, int, int] | None"
Stamps: TypeAlias = dict[str, _Stamp]


def stamps_of(files: Sequence[str]) -> Stamps:
    """How these files are now, by their whole paths."""
    return {file: _stamp(file) for file in map(os.path.abspath, files)}


async def watch_files(known: Stamps, tell: Callable[[str], None]) -> None:
    """Call `tell` with a file's path whenever that is not as it is known: it was touched, written or replaced; until
    cancelled. One that does not exist counts when it comes; that it goes is not told.
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
                    tell(file)
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
    """Raises ConfigError where watchfiles is not installed."""
    try:
        import watchfiles  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("reload needs watchfiles", "pip install 'trio-uwsgi[reload]', or use touch_reload") from None


async def watch_sources(folders: Sequence[str], tell: Callable[[str], None]) -> None:
    """Call `tell` with the path of a Python file below these folders when some have changed; until cancelled.

    Hidden folders, virtual environments and caches are left out, as watchfiles does. Where the system refuses to watch,
    a folder that may not be read, say, there is one warning, and the files are looked at again and again.
    """
    refused = await _told_by_the_system(folders, tell)
    look = functools.partial(_sources, folders)
    known = await trio.to_thread.run_sync(look)
    logger.warning("code cannot be watched (%s); it is looked at every %g s instead", refused, _INTERVAL)
    while True:
        await trio.sleep(_INTERVAL)
        before, known = known, await trio.to_thread.run_sync(look)
        if changed := [file for file, _ in before.items() ^ known.items()]:
            tell(min(changed))


async def _told_by_the_system(folders: Sequence[str], tell: Callable[[str], None]) -> str:
    """As `watch_sources`, until the system refuses: then, why."""
    from watchfiles import PythonFilter, awatch

    refused = ""
    stop = trio.Event()  # its thread looks at this often, and comes back for nothing else within seconds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_at_the_end, stop)
        changes = awatch(*folders, watch_filter=PythonFilter(), stop_event=stop)
        while not refused:
            found: Collection[tuple[object, str]] | None = ()
            try:
                found = await anext(changes, None)
            except* (OSError, RuntimeError) as group:  # its own error for what its thread meets is a RuntimeError
                refused = str(only_error(group))
            if found:
                tell(min(path for _, path in found))
            elif found is None:  # it ends in its own way when it is cancelled
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    return refused


def _sources(folders: Sequence[str]) -> Stamps:
    """The Python files below these folders; of those that may be read."""
    found: Stamps = {}
    for folder in folders:
        for path, inner, files in os.walk(folder):
            if "pyvenv.cfg" in files:  # a virtual environment
                inner.clear()
                continue
            inner[:] = [name for name in inner if not _is_left_out(name)]
            for file in (os.path.join(path, name) for name in files if name.endswith(".py")):
                if (stamp := _stamp(file)) is not None:
                    found[file] = stamp
    return found


def _is_left_out(folder: str) -> bool:
    return folder.startswith(".") or folder in ("__pycache__", "node_modules", "site-packages")


async def _set_at_the_end(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()
