"""Inspecting and repairing a spooler's directory: list jobs, retry them, remove them.

Safe while the directory is in use: a job is locked before it is changed, as spoolers lock it. Inspecting opens files
for reading only and takes no locks, so it does not disturb running spoolers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from trio_uwsgi._spool.claim import NotClaimed, open_job, release, set_due
from trio_uwsgi._spool.file_format import LONGEST_HEAD, decode_head
from trio_uwsgi._spool.paths import (
    DEAD,
    READ_FLAGS,
    TRIES,
    Found,
    Record,
    due_of,
    fsync_folder,
    is_dead_job,
    make_folder,
    read_record,
    remove,
    report_of,
)
from trio_uwsgi._spool.rules import PREFIX, is_job, is_priority
from trio_uwsgi._system.file_locks import locked_elsewhere
from trio_uwsgi.errors import BadSpoolFile, SpoolError

if TYPE_CHECKING:
    from trio_uwsgi._spool.file_format import Pairs
    from trio_uwsgi._spool.files import SpoolFolder

__all__ = [
    "JobDetails",
    "State",
    "dead",
    "delay_reason",
    "find",
    "is_dead",
    "make_due",
    "names",
    "purge",
    "read_details",
    "record_of",
    "requeue",
    "state_of",
]

State: TypeAlias = Literal["waiting", "delayed", "running", "dead"]


@dataclass(frozen=True, slots=True)
class JobDetails:
    """The contents of a job's file.

    Args:
        found: the file.
        state: the state of the job.
        pairs: its vars; empty if there is a `problem`.
        body: the first bytes of its body.
        body_size: the size of the body in bytes.
        record: the number of failed attempts, and the last failure.
        problem: why the file cannot be read; `""` if it can.
    """

    found: Found
    state: State
    pairs: Pairs
    body: bytes
    body_size: int
    record: Record
    problem: str


def dead(folder: SpoolFolder) -> Iterator[Found]:
    """Every dead job; their names begin with `dead/`. `due` is when they were moved there."""
    for place in (DEAD, *folder.priorities(DEAD)):
        with suppress(OSError), os.scandir(f"{folder.path}/{place}") as entries:
            for entry in entries:
                if is_dead_job(entry.name):
                    with suppress(OSError):  # it was put back meanwhile
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            yield Found(f"{place}/{entry.name}", due_of(status), status.st_size)


def names(folder: SpoolFolder) -> Iterator[str]:
    """The name of every job that is not dead. Does not open files, so it is fast even for a million jobs."""
    priorities = []
    with os.scandir(folder.path) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(PREFIX):
                yield name
            elif is_priority(name) and entry.is_dir(follow_symlinks=False):
                priorities.append(name)
    for place in priorities:
        with suppress(OSError), os.scandir(f"{folder.path}/{place}") as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX):
                    yield f"{place}/{entry.name}"


def find(folder: SpoolFolder, name: str) -> Found:
    """A job, dead or not; `name` may omit `dead/`, and may be a path.

    Raises:
        SpoolError: there is no such job.
    """
    name = name.removeprefix(f"{folder.path}/")
    for candidate in (name, f"{DEAD}/{name}"):
        if not is_job(candidate.removeprefix(f"{DEAD}/")):
            raise SpoolError(f"{name!r} is not the name of a job; use one that `spool ls` shows")
        with suppress(OSError):
            status = os.lstat(f"{folder.path}/{candidate}")
            if stat.S_ISREG(status.st_mode):
                return Found(candidate, due_of(status), status.st_size)
    raise SpoolError(f"there is no job {name!r} in {folder.path}; it may have been run meanwhile")


def is_dead(found: Found) -> bool:
    """Is the job in `dead/`?"""
    return found.name.startswith(f"{DEAD}/")


def state_of(folder: SpoolFolder, found: Found) -> State:
    """The state of a job. One that uWSGI is writing counts as `running`."""
    if is_dead(found):
        return "dead"
    with suppress(OSError):
        fd = os.open(f"{folder.path}/{found.name}", READ_FLAGS)
        try:
            if locked_elsewhere(fd):
                return "running"
        finally:
            os.close(fd)
    return "delayed" if found.due > folder.now() else "waiting"


def record_of(folder: SpoolFolder, found: Found) -> Record:
    """The number of failed attempts of a job, and the last failure."""
    path = f"{folder.path}/{found.name}"
    return read_record(report_of(path) if is_dead(found) else f"{folder.path}/{TRIES}/{found.name}")


def read_details(folder: SpoolFolder, found: Found, preview: int = 0) -> JobDetails:
    """Read a job's file, with the first `preview` bytes of its body. Takes no lock."""
    state, record = state_of(folder, found), record_of(folder, found)
    try:
        with open(os.open(f"{folder.path}/{found.name}", READ_FLAGS), "rb") as file:
            data = file.read(min(LONGEST_HEAD + preview, max(found.size, 1)))
            size = os.fstat(file.fileno()).st_size
        pairs, begin = decode_head(data)
    except OSError as error:
        return JobDetails(found, state, [], b"", 0, record, error.strerror or str(error))
    except BadSpoolFile as error:
        return JobDetails(found, state, [], b"", 0, record, error.problem)
    return JobDetails(found, state, pairs, data[begin : begin + preview], size - begin, record, "")


def delay_reason(folder: SpoolFolder, found: Found) -> Literal["at", "retry"] | None:
    """Why a job is delayed: by `at=` or by a retry. None: by neither, so the time of its file is wrong."""
    if record_of(folder, found).tries:
        return "retry"
    return "at" if any(name == b"at" for name, _ in read_details(folder, found).pairs) else None


def make_due(folder: SpoolFolder, found: Found) -> None:
    """Make a delayed job due now.

    Raises:
        SpoolError: it runs already, or does not exist any more.
    """
    fd = _lock(folder, found)
    try:
        set_due(fd, folder.now())
    except OSError as error:
        raise SpoolError(f"{found.name} cannot be changed ({error.strerror})") from error
    finally:
        release(fd)


def requeue(folder: SpoolFolder, found: Found) -> str:
    """Move a dead job back, without failed attempts, and return its name.

    Raises:
        SpoolError: there is a job of that name, or the disk refuses the change.
    """
    name = found.name.removeprefix(f"{DEAD}/")
    old, new = f"{folder.path}/{found.name}", f"{folder.path}/{name}"
    fd = _lock(folder, found)
    try:
        if os.path.lexists(new):
            raise SpoolError(f"there is a job {name} already; wait until it has run, or purge one of the two")
        # Before the job is moved back, so that old failures are not counted.
        remove(f"{folder.path}/{TRIES}/{name}")
        if "/" in name:
            make_folder(os.path.dirname(new))
        set_due(fd, folder.now())
        os.rename(old, new)
        fsync_folder(os.path.dirname(new))
        fsync_folder(os.path.dirname(old))
        remove(report_of(old))
    except OSError as error:
        raise SpoolError(f"{found.name} cannot be put back ({error.strerror})") from error
    finally:
        release(fd)
    return name


def purge(folder: SpoolFolder, found: Found) -> None:
    """Remove a job that is not running.

    Raises:
        SpoolError: it is running, does not exist any more, or cannot be removed.
    """
    path = f"{folder.path}/{found.name}"
    fd = _lock(folder, found)
    try:
        os.unlink(path)
        remove(report_of(path) if is_dead(found) else f"{folder.path}/{TRIES}/{found.name}")
    except OSError as error:
        raise SpoolError(f"{found.name} cannot be removed ({error.strerror})") from error
    finally:
        release(fd)


def _lock(folder: SpoolFolder, found: Found) -> int:
    opened = open_job(f"{folder.path}/{found.name}")
    if isinstance(opened, NotClaimed):
        what = {
            "locked": "is running; stop its spooler, or wait until it has ended",
            "gone": "does not exist any more; it may have been run meanwhile",
        }
        raise SpoolError(opened.detail or f"{found.name} {what[opened.why]}")
    return opened[0]
