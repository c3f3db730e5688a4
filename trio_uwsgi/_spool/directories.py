"""All directories of a runtime's spoolers, for the code of its members. One directory is a `Spool`, `directory.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from trio_uwsgi.errors import NoSpooler

if TYPE_CHECKING:
    from trio_uwsgi._spool.directory import Spool

__all__ = ["Spools"]


class Spools:
    """All directories, in the order of `Config.spooler`."""

    def __init__(self, spools: Sequence[Spool]) -> None:
        self.all = tuple(spools)
        self.pids: Callable[[], list[int]] = list  # of the spoolers; set by the member factory
        self.send_frequency: Callable[[float], None] = _no_other_process  # set where spoolers are other processes

    def get(self, directory: str | None) -> Spool:
        """The directory of that name, as in `Config.spooler` or as a full path; None is the first one.

        Raises:
            NoSpooler: there is no such directory.
        """
        if self.all and directory is None:
            return self.all[0]
        path = None if directory is None else _real(directory)
        for spool in self.all:
            if spool.folder.path == path:
                return spool
        raise NoSpooler(directory or "", self._known)

    def of_path(self, path: str) -> Spool:
        """The directory in which this job's file is, or was.

        Raises:
            NoSpooler: it is in none of them.
        """
        folder = os.path.dirname(_real(path))
        for spool in self.all:
            if folder == spool.folder.path or os.path.dirname(folder) == spool.folder.path:
                return spool
        raise NoSpooler(folder, self._known)

    @property
    def _known(self) -> tuple[str, ...]:
        return tuple(spool.folder.path for spool in self.all)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve all of them until cancelled.

        Raises:
            BootError: one of them cannot be used.
        """
        async with trio.open_nursery() as nursery:
            for spool in self.all:
                await nursery.start(spool.serve)
            task_status.started()

    def set_frequency(self, seconds: float) -> None:
        """Change the seconds between two scans, in all members.

        Raises:
            NoSpooler: there is no spooler.
        """
        self.get(None)
        self.apply_frequency(seconds)
        self.send_frequency(seconds)

    def apply_frequency(self, seconds: float) -> None:
        """Change the seconds between two scans, in this process only."""
        for spool in self.all:
            spool.set_frequency(seconds)


def _no_other_process(seconds: float) -> None:
    """Spoolers are tasks of this process, so there is no other process to notify."""


def _real(path: str) -> str:
    """The path without symbolic links; `""` for a path with a NUL, which another node may ask for."""
    return "" if "\0" in path else os.path.realpath(path)
