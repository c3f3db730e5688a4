"""Noticing that files were touched, or that Python code was changed. Floor 2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import trio

from trio_uwsgi._tasks.inotify import open_watch
from trio_uwsgi.errors import ConfigError

__all__ = ["Stamps", "require_watchfiles", "stamps_of", "watch_files", "watch_sources"]

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

    Hidden folders, virtual environments and caches are left out, as watchfiles does.
    """
    from watchfiles import PythonFilter, awatch

    stop = trio.Event()  # its thread looks at this often, and comes back for nothing else within seconds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_at_the_end, stop)
        async for changes in awatch(*folders, watch_filter=PythonFilter(), stop_event=stop):
            tell(min(path for _, path in changes))


async def _set_at_the_end(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()
