"""Crashes of the process and of the machine, at any step of what the spooler does to its files.

`KilledOs` takes the place of `os` in the spooler's modules and lets a number of steps happen; then the process is
dead, and nothing it tries has an effect. `Disk` knows from a list of steps what the disk may hold after a power cut: of
a file that was not fsynced nothing or a half, and of names in a directory that was not fsynced any of the changes. A
rename is one change, there as a whole or not at all, as on every file system with a journal.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trio_uwsgi._spool import claim as spool_claim
from trio_uwsgi._spool import files as spool_files
from trio_uwsgi._spool import paths as spool_paths
from trio_uwsgi._spool import running_jobs as spool_running
from trio_uwsgi._spool import tools as spool_tools

if TYPE_CHECKING:
    import pytest

MODULES = (spool_claim, spool_files, spool_paths, spool_running, spool_tools)
STEPS = ("fchmod", "mkdir", "open", "pwrite", "write", "writev", "utime", "fsync", "rename", "unlink")

Step = tuple[str, tuple[Any, ...], Any]  # what was called, with what, and what it gave; Any: each call has its own


class Killed(BaseException):
    """The process is gone."""


class KilledOs:
    """`os`, for a process that is killed after `steps` calls which change something, and lists them."""

    def __init__(self, steps: int = 1_000_000) -> None:
        self.left = steps
        self.done: list[Step] = []

    def __getattr__(self, name: str) -> Any:  # Any: whatever os has
        value = getattr(os, name)
        if name not in STEPS:
            return value

        def step(*args: Any, **keywords: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                given = value(*args, **keywords)
                self.done.append((name, args, given))
                return given
            if not self.left:
                raise Killed
            self.left -= 1
            before = len(self.done)
            self.done.append((name, args, None))
            given = value(*args, **keywords)
            self.done[before] = (name, args, given)
            return given

        return step

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the spooler's modules use it."""
        for module in MODULES:
            monkeypatch.setattr(module, "os", self)


class Disk:
    """What may be on the disk, of one directory.

    Args:
        folder: where it was when nothing had happened: everything in it is on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[tuple[bytes, bytes]] = []  # as it is, and as it is on the disk
        self.names: dict[str, int] = {}  # -1 is a directory
        self.pending: list[dict[str, int | None]] = []  # changes of names; None: it is gone
        self.now: dict[str, int] = {}
        self.open: dict[int, str | int] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.names[str(path)] = len(self.files)
                self.files.append((path.read_bytes(), path.read_bytes()))
            else:
                self.names[str(path)] = -1
        self.now = dict(self.names)

    def _change(self, **changes: int | None) -> None:
        self.pending.append(changes)
        for name, file in changes.items():
            if file is None:
                self.now.pop(name, None)
            else:
                self.now[name] = file

    def happen(self, step: Step) -> None:
        """One more step."""
        name, args, given = step
        if name == "open":
            path = args[0]
            if args[1] & os.O_CREAT:
                self._change(**{path: len(self.files)})
                self.files.append((b"", b""))
            self.open[given] = path if args[1] & os.O_DIRECTORY else self.now[path]
        elif name == "mkdir":
            self._change(**{args[0]: -1})
        elif name in ("write", "writev", "pwrite"):
            file = self.open[args[0]]
            assert isinstance(file, int)
            data = b"".join(map(bytes, args[1])) if name == "writev" else bytes(args[1])
            was, on_disk = self.files[file]
            self.files[file] = (data if name == "pwrite" else was + data, on_disk)
        elif name == "fsync":
            target = self.open[args[0]]
            if isinstance(target, int):
                self.files[target] = (self.files[target][0],) * 2
            else:
                self._sync(target)
        elif name == "rename":
            self._change(**{args[0]: None, args[1]: self.now[args[0]]})
        elif name == "unlink":
            self._change(**{args[0]: None})

    def _sync(self, folder: str) -> None:
        left = []
        for changes in self.pending:
            if any(os.path.dirname(name) == folder for name in changes):
                self._apply(self.names, changes)
            else:
                left.append(changes)
        self.pending = left

    @staticmethod
    def _apply(names: dict[str, int], changes: dict[str, int | None]) -> None:
        for name, file in changes.items():
            if file is None:
                names.pop(name, None)
            else:
                names[name] = file

    def after_a_power_cut(self) -> Iterator[dict[str, bytes | None]]:
        """Everything that may be there: files with their bytes, directories with None, by their path in the folder."""
        for kept in itertools.product((True, False), repeat=len(self.pending)):
            names = dict(self.names)
            for keep, changes in zip(kept, self.pending, strict=True):
                if keep:
                    self._apply(names, changes)
            for share in (0.0, 0.5):
                there: dict[str, bytes | None] = {}
                for name in sorted(names):
                    parent = os.path.dirname(name)
                    if parent != str(self.folder) and parent not in names:
                        continue
                    there[os.path.relpath(name, self.folder)] = self._content(names[name], share)
                yield there

    def _content(self, file: int, share: float) -> bytes | None:
        if file < 0:
            return None
        data, on_disk = self.files[file]
        return on_disk if data == on_disk else on_disk or data[: int(len(data) * share)]


def build(folder: Path, there: dict[str, bytes | None]) -> None:
    """Make a directory with this in it."""
    folder.mkdir()
    for name, data in there.items():
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)
