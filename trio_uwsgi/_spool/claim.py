"""A claim: a job that is being run, its file locked, and the ways in which the claim ends.

Each way releases the lock and leaves the file unchanged, moved, or removed. After a crash at any point the job still
exists and is run again. Therefore a failure is recorded before the job's file is changed, and a job is moved by one
rename, which is atomic.

A claim opens the file for writing, and when it closes the file, processes that watch the directory are notified and may
claim the job again. To avoid an endless loop, a job that could not be claimed is checked without opening it for writing
the next time (`probe_job`), and a job whose claim could not be ended properly is held back for `HOLD_BACK` seconds.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from trio_uwsgi._spool.file_format import LONGEST_HEAD, decode_head
from trio_uwsgi._spool.paths import (
    DEAD,
    READ_FLAGS,
    TRIES,
    Record,
    due_of,
    fsync_folder,
    is_dead_job,
    make_folders,
    read_record,
    remove,
    report_of,
    write_record,
)
from trio_uwsgi._system.file_locks import locked_elsewhere, try_lock, unlock
from trio_uwsgi.errors import BadSpoolFile, SpoolError

if TYPE_CHECKING:
    from trio_uwsgi._spool.file_format import Pairs

__all__ = ["Claim", "NotClaimed", "claim_job", "open_job", "probe_job"]

logger = logging.getLogger("trio_uwsgi")

Why: TypeAlias = Literal["gone", "locked", "delayed", "unfinished", "dead", "unreadable"]

_CLAIM_FLAGS = READ_FLAGS | os.O_RDWR
# Seconds after which a file with an incomplete head is no longer taken for one that is being written. uWSGI, which
# does not write to a temporary name, needs milliseconds.
WRITE_TIME = 10
# Mode bit of a job that has a record in `.tries`. Jobs, uWSGI's and ours, are otherwise not executable.
_FAILED_BEFORE = stat.S_IXUSR
# Seconds for which a job is held back after the disk refused to remove or move it.
HOLD_BACK = 60


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why a job was not claimed.

    Args:
        why: `gone`: the file does not exist any more. `locked`: another process runs the job, or is still writing it.
            `delayed`: it is not due yet. `unfinished`: it is empty or cut off, and may still be being written.
            `dead`: it is not a complete job, and was moved to `dead/`. `unreadable`: it stays where it is, and cannot
            be used.
        detail: a sentence for the log; `""` if there is nothing to report.
        until: when to try again, in seconds since the epoch; None if there is nothing to wait for, or if a change of
            the file will be noticed.
    """

    why: Why
    detail: str = ""
    until: float | None = None


class Claim:
    """A job whose file this process has locked. One of `done`, `keep`, `retry`, `move_to_dead` and `abandon` ends it.

    Each of them raises SpoolError if the disk refuses the change. The claim has ended then too; the job still exists
    and is held back for `HOLD_BACK` seconds.

    Args:
        root: the spooler's directory.
        name: the job's name in it.
        fd: the file, locked.
        read: the beginning of the file, and the result of `fstat`.
        now: the time of day.
    """

    __slots__ = ("_data", "_fd", "_now", "_offset", "_record", "_root", "_status", "name", "pairs", "path")

    def __init__(
        self, root: str, name: str, fd: int, read: tuple[bytes, os.stat_result], now: Callable[[], float]
    ) -> None:
        self._root = root
        self._fd = fd
        self._data, self._status = read
        self._now = now
        self._record: Record | None = None
        self.name = name
        self.path = f"{root}/{name}"
        self.pairs: Pairs
        self.pairs, self._offset = decode_head(self._data)

    def __repr__(self) -> str:
        return f"<Claim {self.name!r}{'' if self._fd >= 0 else ', ended'}>"

    @property
    def tries(self) -> int:
        """How many attempts have failed."""
        return self.record.tries

    @property
    def record(self) -> Record:
        """How many attempts have failed, and what went wrong the last time."""
        if self._record is None:
            # Few jobs have failed before, and opening a file that does not exist costs as much as opening one that
            # does. So `retry` marks the job before it writes a record; a mark without a record is harmless.
            marked = self._status.st_mode & _FAILED_BEFORE
            self._record = read_record(f"{self._root}/{TRIES}/{self.name}") if marked else Record(0, "")
        return self._record

    @property
    def body_size(self) -> int:
        """The size of its body in bytes."""
        return self._status.st_size - self._offset

    def read_body(self) -> bytes:
        """The whole body. Must be called before the claim ends."""
        known = self._data[self._offset :]
        left = self._status.st_size - len(self._data)
        if left <= 0:
            return known
        pieces = [known]
        position = len(self._data)
        while left > 0 and (piece := os.pread(self._fd, min(left, 1 << 24), position)):
            pieces.append(piece)
            position += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def done(self) -> None:
        """The job has run: remove it."""
        try:
            # Still locked, so that no process can start it between the two steps. If a crash leaves only the record,
            # `prepare` removes that; the other order would lose the count of a job that is run again.
            os.unlink(self.path)
            if self.tries:
                remove(f"{self._root}/{TRIES}/{self.name}")
        except OSError as error:
            hold_back(self._fd, self._now)
            raise _failed(self.path, "is done, but cannot be removed, so it will run again", error) from error
        finally:
            self._release()

    def keep(self, due: float | None = None) -> None:
        """Leave the job unchanged; it may be claimed again from `due` on, or at once. No attempt is counted.

        Without `due` processes that watch the directory are notified at once, so a job that no function handles needs a
        `due`.
        """
        try:
            if due is not None:
                set_due(self._fd, due)
        except OSError as error:
            raise _failed(self.path, "is kept, but cannot be delayed", error) from error
        finally:
            self._release()

    def retry(self, due: float, report: str) -> None:
        """The job has failed: have it retried from `due` on."""
        try:
            # The record first, so that a crash between the two loses no attempt. The delay is set even if the record
            # cannot be written because the disk is full.
            try:
                os.fchmod(self._fd, stat.S_IMODE(self._status.st_mode) | _FAILED_BEFORE)
                write_record(self._root, f"{TRIES}/{self.name}", Record(self.tries + 1, report))
            finally:
                set_due(self._fd, due)
        except OSError as error:
            raise _failed(self.path, "has failed, but the failure cannot be recorded", error) from error
        finally:
            self._release()

    def move_to_dead(self, report: str) -> None:
        """The last attempt has failed: move the job to `dead/`, with a report. Sets `path` to its new path."""
        try:
            self.path = move_to_dead(self._root, self.name, self._fd, Record(self.tries + 1, report))
        except OSError as error:
            hold_back(self._fd, self._now)
            raise _failed(self.path, "has used up its attempts, but cannot be moved to dead/", error) from error
        finally:
            self._release()

    def abandon(self) -> None:
        """Leave the job as a killed process does; `recover` will count the failed attempt."""
        self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        release(fd)


def claim_job(root: str, name: str, now: Callable[[], float]) -> Claim | NotClaimed:
    """Lock a job and read its head. See `NotClaimed` for the other results."""
    opened = open_job(f"{root}/{name}")
    if isinstance(opened, NotClaimed):
        return opened
    fd, status = opened
    claim: Claim | None = None
    try:
        due = due_of(status)
        if due > now():
            return NotClaimed("delayed", until=due)
        data = os.pread(fd, min(status.st_size, LONGEST_HEAD), 0)
        claim = Claim(root, name, fd, (data, status), now)
        return claim
    except BadSpoolFile as error:
        if error.cut_off and now() - due < WRITE_TIME:
            return NotClaimed("unfinished", f"{root}/{name}: {error}", until=due + WRITE_TIME)
        return _move_bad_to_dead(root, name, fd, error, now)
    except OSError as error:
        hold_back(fd, now)
        return NotClaimed("unreadable", f"{root}/{name} cannot be read ({error.strerror}) and is left in place")
    finally:
        if claim is None:
            release(fd)


def probe_job(root: str, name: str, now: Callable[[], float]) -> NotClaimed | None:
    """Why a job cannot be claimed now, found out without locking it or notifying watchers; None: it may be claimed."""
    path = f"{root}/{name}"
    try:
        fd = os.open(path, READ_FLAGS)
    except FileNotFoundError:
        return NotClaimed("gone")
    except OSError:
        return None  # `claim_job` reports it
    try:
        if locked_elsewhere(fd):
            return NotClaimed("locked")
        status = os.fstat(fd)
        decode_head(os.pread(fd, min(status.st_size, LONGEST_HEAD), 0))
    except BadSpoolFile as error:
        until = due_of(status) + WRITE_TIME
        if error.cut_off and now() < until:
            return NotClaimed("unfinished", f"{path}: {error}", until=until)
    except OSError as error:
        return NotClaimed("unreadable", f"{path} cannot be read ({error.strerror}) and is left in place")
    finally:
        os.close(fd)
    return None


def open_job(path: str) -> tuple[int, os.stat_result] | NotClaimed:
    """Open and lock a job's file, whether it is due or not. The caller calls `release` in the end."""
    try:
        fd = os.open(path, _CLAIM_FLAGS)
    except FileNotFoundError:
        return NotClaimed("gone")
    except OSError as error:
        return NotClaimed("unreadable", f"{path} cannot be opened ({error.strerror}) and is left in place")
    taken = False
    try:
        if not try_lock(fd):
            return NotClaimed("locked")
        # The last holder of the lock may have removed or moved the file after it was opened here.
        status = os.fstat(fd)
        named = os.lstat(path)
        if named.st_ino != status.st_ino or named.st_dev != status.st_dev:
            return NotClaimed("gone")
        if not stat.S_ISREG(status.st_mode):
            return NotClaimed("unreadable", f"{path} is not a regular file and is left in place")
        taken = True
        return fd, status
    except FileNotFoundError:
        return NotClaimed("gone")
    except OSError as error:
        return NotClaimed("unreadable", f"{path} cannot be locked ({error.strerror}) and is left in place")
    finally:
        if not taken:
            os.close(fd)


def release(fd: int) -> None:
    """Unlock and close. (Closing alone is not enough: a child forked by user code has the file open too.)"""
    try:
        unlock(fd)
    finally:
        os.close(fd)


def hold_back(fd: int, now: Callable[[], float]) -> None:
    """Delay the job. Works on a full disk; other errors are ignored."""
    with suppress(OSError):
        set_due(fd, now() + HOLD_BACK)


def set_due(fd: int, due: float) -> None:
    """Set when a job may run, as the modification time of its file."""
    nanoseconds = round(due * 1_000_000) * 1000
    os.utime(fd, ns=(nanoseconds, nanoseconds))


def move_to_dead(root: str, name: str, fd: int, record: Record) -> str:
    """Move a job to `dead/` and return its path there. The caller has its lock."""
    place = f"{DEAD}/{name}"
    number = 0
    # The name may be taken by an older copy of the job, or end like that of a report.
    while os.path.lexists(f"{root}/{place}") or not is_dead_job(os.path.basename(place)):
        number += 1
        place = f"{DEAD}/{name}.{number}"
    make_folders(root, place)
    target = f"{root}/{place}"
    try:
        write_record(root, report_of(place), record, sync=True)
    except OSError as error:  # the job itself is still moved
        logger.warning("the report of %s/%s cannot be written (%s): %s", root, name, error.strerror, record.report)
    os.rename(f"{root}/{name}", target)
    os.utime(fd)  # the time at which it was moved
    fsync_folder(os.path.dirname(target))
    fsync_folder(os.path.dirname(f"{root}/{name}"))
    remove(f"{root}/{TRIES}/{name}")
    return target


def _move_bad_to_dead(root: str, name: str, fd: int, error: BadSpoolFile, now: Callable[[], float]) -> NotClaimed:
    path = f"{root}/{name}"
    try:
        target = move_to_dead(root, name, fd, Record(0, str(error)))
    except OSError as problem:
        hold_back(fd, now)
        return NotClaimed("unreadable", f"{path}: {error}; it cannot be moved to {DEAD}/ ({problem.strerror})")
    return NotClaimed("dead", f"{path}: {error}; moved to {target}")


def _failed(path: str, what: str, error: OSError) -> SpoolError:
    return SpoolError(f"{path} {what} ({error.strerror}); check the disk and its permissions")
