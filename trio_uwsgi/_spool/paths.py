"""Where things are in a spooler's directory, and how they get to the disk.

    NAME            a job, see `_spool/rules.py`; 5/NAME is one of priority 5
    dead/NAME       a job that was given up, and beside it NAME.report, which says why
    .tries/NAME     how often a job has failed, and what went wrong the last time; only for jobs that have
    .running/...    what each spooler runs, see `running_jobs.py`
    .new_...        a file that is being written; it gets its name when it is whole

Only the first line is uWSGI's; it does not look at the others. Reports and the files in `.tries` are text: a line
`tries: N`, an empty one, and what went wrong.
"""

from __future__ import annotations

import itertools
import os
import secrets
from contextlib import suppress
from typing import NamedTuple

from trio_uwsgi._spool.rules import PREFIX, priority

__all__ = [
    "DEAD",
    "NEW",
    "READ_FLAGS",
    "RUNNING",
    "TRIES",
    "Found",
    "Record",
    "due_of",
    "fsync_folder",
    "is_dead_job",
    "is_orphan",
    "make_folder",
    "make_folders",
    "new_path",
    "read_record",
    "remove",
    "report_of",
    "write_all",
    "write_record",
]

DEAD = "dead"
TRIES = ".tries"
RUNNING = ".running"
NEW = ".new_"
_REPORT = ".report"
# More than anybody tries; what is written down of a job that runs has 32 bits for it.
_MAX_TRIES = 2**31

# How files are opened to be looked at. O_NONBLOCK: opening a pipe that somebody put there does not wait. O_NOFOLLOW: a
# link could lead to somebody else's file.
READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_counter = itertools.count(1)


class Found(NamedTuple):
    """A job's file: its name inside of the spooler's directory, when it may run, and its bytes."""

    name: str
    due: float
    size: int

    @property
    def priority(self) -> int | None:
        """Its priority; None if it has none."""
        return priority(self.name.removeprefix(f"{DEAD}/"))


class Record(NamedTuple):
    """How often a job has failed, and what went wrong the last time."""

    tries: int
    report: str


def due_of(status: os.stat_result) -> float:
    """When a job may run, from the time of its file. To microseconds, which a float holds exactly enough to compare."""
    return status.st_mtime_ns // 1000 / 1_000_000


def is_dead_job(file: str) -> bool:
    """Is a file of this name, in `dead`, a job?"""
    return file.startswith(PREFIX) and not file.endswith(_REPORT)


def is_orphan(path: str) -> bool:
    """Is this file, in `dead`, a report without a job?"""
    return path.endswith(_REPORT) and not os.path.lexists(path.removesuffix(_REPORT))


def report_of(path: str) -> str:
    """The path of the report beside a dead job."""
    return path + _REPORT


def new_path(folder: str) -> str:
    """A path for a file that is not whole yet, which nobody else uses."""
    return f"{folder}/{NEW}{os.getpid()}_{next(_counter)}_{secrets.randbits(31)}"


def fsync_folder(path: str) -> None:
    """Have the names in a directory written to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: str, mode: int = 0o777) -> None:
    """Make a directory if there is none, so that it is there after a power cut too."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    fsync_folder(os.path.dirname(path))


def read_record(path: str) -> Record:
    """Read a record; one that is missing, or that a power cut has damaged, counts as no tries."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head, _, report = file.read().partition("\n\n")
        tries = int(head.removeprefix("tries: "))
    except (OSError, ValueError):
        return Record(0, "")
    return Record(tries, report) if 0 <= tries < _MAX_TRIES else Record(0, "")


def make_folders(root: str, name: str, mode: int = 0o700) -> None:
    """Make the directories of a file `name` below `root`, which itself has to be there."""
    if not os.path.isdir(os.path.dirname(f"{root}/{name}")):
        path = root
        for part in name.split("/")[:-1]:
            path = f"{path}/{part}"
            make_folder(path, mode)


def write_record(root: str, name: str, record: Record, sync: bool = False) -> None:
    """Write a record below `root`, whole or not at all."""
    make_folders(root, name)
    path = f"{root}/{name}"
    new = new_path(os.path.dirname(path))
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, f"tries: {record.tries}\n\n{record.report}".encode("utf-8", "replace"))
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(new, path)
    except OSError:
        remove(new)
        raise


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of it. A single call writes 2 GB at most, and less where the disk gets full."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)
