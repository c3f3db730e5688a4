"""The task that raises the signals of file monitors when their files change. The rules are in `file_monitor.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._system.path_watch import open_path_watch

if TYPE_CHECKING:
    from trio_uwsgi._signals.file_monitor import FileMonitor
    from trio_uwsgi._system.path_watch import PathWatch

__all__ = ["FileMonitors", "monitored_path"]


def monitored_path(path: str | os.PathLike[str]) -> str:
    """The path of a file monitor as an absolute one; what is none is left for `FileMonitor` to refuse."""
    return os.path.abspath(path) if path and isinstance(path, str | os.PathLike) else path  # type: ignore[return-value]


class FileMonitors:
    """The file monitors of a runtime, each path and signal once. The master sets `raise_change`; it must not raise."""

    def __init__(self) -> None:
        self._monitors: dict[str, dict[int, FileMonitor]] = {}  # by path and signal
        self._watch: PathWatch | None = None  # opened for the first path
        self._added = trio.Event()
        self.raise_change: Callable[[FileMonitor], None]

    def add(self, monitor: FileMonitor) -> None:
        """Monitor a file from now on. Nothing happens if there is such a monitor already."""
        path = monitored_path(monitor.path)
        if path not in self._monitors:
            if self._watch is None:
                self._watch = open_path_watch()
            self._watch.add(path)
        self._monitors.setdefault(path, {}).setdefault(monitor.signum, monitor)
        self._added.set()

    def keep(self, monitors: Iterable[FileMonitor]) -> None:
        """End all monitors but those of these paths and signals."""
        kept = {(monitored_path(monitor.path), monitor.signum) for monitor in monitors}
        for path, by_signal in list(self._monitors.items()):
            self._monitors[path] = {signum: known for signum, known in by_signal.items() if (path, signum) in kept}
            if not self._monitors[path] and self._watch is not None:
                self._watch.remove(path)
                del self._monitors[path]

    def ended(self, monitor: FileMonitor, began: bool) -> None:
        """A run has ended, or never began."""
        if monitor.ended():
            self.raise_change(monitor)

    async def run(self) -> None:
        """Raise the signals of files that change, until cancelled."""
        try:
            await self._added.wait()
            assert self._watch is not None
            while True:
                for path in sorted(await self._watch.changed()):
                    for monitor in self._monitors.get(path, {}).values():
                        if monitor.changed():
                            self.raise_change(monitor)
        finally:
            if self._watch is not None:
                self._watch.close()
