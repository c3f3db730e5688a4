"""The files in a spooler's directory: their paths, and how they are written to the disk.

    NAME            a job, see `rules.py`; 5/NAME has priority 5
    dead/NAME       a job whose last attempt failed, and beside it NAME.report with the reason
    .tries/NAME     the number of failed attempts of a job, and the last failure; only for jobs that have failed
    .running/...    the job that each spooler runs, see `running_jobs.py`
    .new_...        a file that is being written; it is renamed when it is complete

uWSGI has the files of the first line only, and ignores the others. Reports and the files in `.tries` are text: a line
`tries: N`, an empty line, and the failure.
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
# Larger numbers in a file count as damage. The record of a running job has 32 bits for it.
_MAX_TRIES = 2**31

# How files are opened for reading. O_NONBLOCK: opening a FIFO must not block. O_NOFOLLOW: a symbolic link could lead to
# another user's file.
READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_counter = itertools.count(1)


class Found(NamedTuple):
    """A job's file: its name inside of the spooler's directory, when it may run, and its size in bytes."""

    name: str
    due: float
    size: int

    @property
    def priority(self) -> int | None:
        """Its priority; None if it has none."""
        return priority(self.name.removeprefix(f"{DEAD}/"))


class Record(NamedTuple):
    """The number of failed attempts of a job, and the last failure."""

    tries: int
    report: str


def due_of(status: os.stat_result) -> float:
    """When a job may run: the modification time of its file, in microseconds, so that floats compare exactly."""
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
    """A unique path for a file that is being written."""
    return f"{folder}/{NEW}{os.getpid()}_{next(_counter)}_{secrets.randbits(31)}"


def fsync_folder(path: str) -> None:
    """Flush the names in a directory to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: str, mode: int = 0o777) -> None:
    """Create a directory if it does not exist, and flush it to the disk."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    fsync_folder(os.path.dirname(path))


def read_record(path: str) -> Record:
    """Read a record. If it is missing, or damaged by a power cut, no attempt has failed."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head, _, report = file.read().partition("\n\n")
        tries = int(head.removeprefix("tries: "))
    except (OSError, ValueError):
        return Record(0, "")
    return Record(tries, report) if 0 <= tries < _MAX_TRIES else Record(0, "")


def make_folders(root: str, name: str, mode: int = 0o700) -> None:
    """Create the directories of a file `name` below `root`, which must exist."""
    if not os.path.isdir(os.path.dirname(f"{root}/{name}")):
        path = root
        for part in name.split("/")[:-1]:
            path = f"{path}/{part}"
            make_folder(path, mode)


def write_record(root: str, name: str, record: Record, sync: bool = False) -> None:
    """Write a record below `root`, atomically."""
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
    """Write all of it. A single system call writes at most 2 GB, and less if the disk gets full."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    with suppress(FileNotFoundError):
        os.unlink(path)
