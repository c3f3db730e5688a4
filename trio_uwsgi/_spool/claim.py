"""A job that is being run: its file, locked, and the ways in which that ends.

Each ends with the lock given up, and leaves the file as it was, elsewhere, or gone. A crash may cut it off anywhere:
the job is then still there, and is run again. So what is told about a failure is written before the job is changed, and
a job is moved by one rename, which is there as a whole or not at all.

A claim opens the file for writing, and whoever watches the directory is told when such a file is closed: that it may be
claimed again. So it must not be, as it is, at once: what cannot be claimed is asked without opening it for writing the
next time (`careful`), and a job whose end failed is held back for a while.
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
# Seconds that a file may take to get its head. Who writes without our renaming (uWSGI) needs milliseconds for it.
WRITE_TIME = 10
# The mode of a job that has a record in `.tries`. uWSGI's jobs, as ours, are for reading and writing.
_FAILED_BEFORE = stat.S_IXUSR
# Seconds for which a job is held back whose end, or burial, the disk refused.
HOLD_BACK = 60


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why a job was not claimed.

    Args:
        why: `gone`: there is no such file any more. `locked`: somebody else runs it, or is still writing it.
            `delayed`: it may not run yet. `unfinished`: it is empty or cut off, and may be being written.
            `dead`: it is no whole job, and was moved to `dead`. `unreadable`: it is still there, and cannot be used.
        detail: a sentence for the log; `""` where there is nothing to tell.
        until: when to look again, in seconds since the epoch; None if there is nothing to wait for, or a change of the
            file tells.
    """

    why: Why
    detail: str = ""
    until: float | None = None


class Claim:
    """A job of which this process has the lock. One of `done`, `keep`, `retry`, `move_to_dead` and `lose` ends it.

    Each of them raises SpoolError where the disk does not do its part: the claim has ended then too, and the job is
    still there, and is held back for `HOLD_BACK` seconds.

    Args:
        root: the spooler's directory.
        name: the job's name in it.
        fd: the file, locked.
        read: the beginning of it, and what `fstat` says about it.
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
        """How often it has failed."""
        return self.record.tries

    @property
    def record(self) -> Record:
        """How often it has failed, and what went wrong the last time."""
        if self._record is None:
            # Nearly no job has failed before. To look for a file that is not there costs as much as to open one that
            # is, so whoever writes a record marks the job before: a mark without a record does no harm.
            marked = self._status.st_mode & _FAILED_BEFORE
            self._record = read_record(f"{self._root}/{TRIES}/{self.name}") if marked else Record(0, "")
        return self._record

    @property
    def body_size(self) -> int:
        """The bytes of its body."""
        return self._status.st_size - self._offset

    def read_body(self) -> bytes:
        """Its body, all of it. To be called before the claim ends."""
        there = self._data[self._offset :]
        left = self._status.st_size - len(self._data)
        if left <= 0:
            return there
        pieces = [there]
        position = len(self._data)
        while left > 0 and (piece := os.pread(self._fd, min(left, 1 << 24), position)):
            pieces.append(piece)
            position += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def done(self) -> None:
        """It has run: remove it."""
        try:
            # While it is locked: nobody can begin it between the two. If a crash leaves only the record, `prepare`
            # removes that; the other order would forget the tries of a job that runs again.
            os.unlink(self.path)
            if self.tries:
                remove(f"{self._root}/{TRIES}/{self.name}")
        except OSError as error:
            hold_back(self._fd, self._now)
            raise _failed(self.path, "is done, and cannot be removed, so it will run again", error) from error
        finally:
            self._release()

    def keep(self, due: float | None = None) -> None:
        """Leave it as it was, for whoever takes it next; from `due` on, or at once. That is no failed try.

        At once means that: whoever watches the directory is told of it. So a job that nobody wants needs a `due`.
        """
        try:
            if due is not None:
                set_due(self._fd, due)
        except OSError as error:
            raise _failed(self.path, "is kept, and cannot be delayed", error) from error
        finally:
            self._release()

    def retry(self, due: float, report: str) -> None:
        """It has failed: have it tried again from `due` on."""
        try:
            # The record first: a crash between the two then forgets no try. And if it cannot be written, because the
            # disk is full, the job at least is not tried again at once.
            try:
                os.fchmod(self._fd, stat.S_IMODE(self._status.st_mode) | _FAILED_BEFORE)
                write_record(self._root, f"{TRIES}/{self.name}", Record(self.tries + 1, report))
            finally:
                set_due(self._fd, due)
        except OSError as error:
            raise _failed(self.path, "has failed, and that cannot be written down", error) from error
        finally:
            self._release()

    def move_to_dead(self, report: str) -> None:
        """It has failed for the last time: move it to `dead`, with a report; `path` says where it is then."""
        try:
            self.path = move_to_dead(self._root, self.name, self._fd, Record(self.tries + 1, report))
        except OSError as error:
            hold_back(self._fd, self._now)
            raise _failed(self.path, "has failed too often, and cannot be moved to dead/", error) from error
        finally:
            self._release()

    def abandon(self) -> None:
        """Leave it as a process does that is killed: its death is counted by whoever finds that (`recover`)."""
        self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        release(fd)


def claim_job(root: str, name: str, now: Callable[[], float]) -> Claim | NotClaimed:
    """Lock a job and read its head. See `NotClaimed` for what else may come of it."""
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
        return NotClaimed("unreadable", f"{root}/{name} cannot be read ({error.strerror}); it stays there")
    finally:
        if claim is None:
            release(fd)


def probe_job(root: str, name: str, now: Callable[[], float]) -> NotClaimed | None:
    """Why a job would not be claimed, without a lock and without anybody being told; None: try it."""
    path = f"{root}/{name}"
    try:
        fd = os.open(path, READ_FLAGS)
    except FileNotFoundError:
        return NotClaimed("gone")
    except OSError:
        return None  # the other way says it
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
        return NotClaimed("unreadable", f"{path} cannot be read ({error.strerror}); it stays there")
    finally:
        os.close(fd)
    return None


def open_job(path: str) -> tuple[int, os.stat_result] | NotClaimed:
    """Open and lock a job's file, whether it is due or not; `release` it in the end."""
    try:
        fd = os.open(path, _CLAIM_FLAGS)
    except FileNotFoundError:
        return NotClaimed("gone")
    except OSError as error:
        return NotClaimed("unreadable", f"{path} cannot be opened ({error.strerror}); it stays there")
    taken = False
    try:
        if not try_lock(fd):
            return NotClaimed("locked")
        # Whoever had the lock before may have removed the file, or moved it, after it was opened here.
        status = os.fstat(fd)
        named = os.lstat(path)
        if named.st_ino != status.st_ino or named.st_dev != status.st_dev:
            return NotClaimed("gone")
        if not stat.S_ISREG(status.st_mode):
            return NotClaimed("unreadable", f"{path} is no regular file; it stays there")
        taken = True
        return fd, status
    except FileNotFoundError:
        return NotClaimed("gone")
    except OSError as error:
        return NotClaimed("unreadable", f"{path} cannot be locked ({error.strerror}); it stays there")
    finally:
        if not taken:
            os.close(fd)


def release(fd: int) -> None:
    """Unlock and close: a child that user code forked has the file open too, and would keep the lock."""
    try:
        unlock(fd)
    finally:
        os.close(fd)


def hold_back(fd: int, now: Callable[[], float]) -> None:
    """Have it not come again at once. A full disk takes that; one that does not take it gets no closer look either."""
    with suppress(OSError):
        set_due(fd, now() + HOLD_BACK)


def set_due(fd: int, due: float) -> None:
    """Set when a job may run, as the time of its file."""
    nanoseconds = round(due * 1_000_000) * 1000
    os.utime(fd, ns=(nanoseconds, nanoseconds))


def move_to_dead(root: str, name: str, fd: int, record: Record) -> str:
    """Move a job to `dead`, and give its path there. The caller has its lock."""
    place = f"{DEAD}/{name}"
    number = 0
    # It died before, and a copy was put back; or it would be taken for a report.
    while os.path.lexists(f"{root}/{place}") or not is_dead_job(os.path.basename(place)):
        number += 1
        place = f"{DEAD}/{name}.{number}"
    make_folders(root, place)
    target = f"{root}/{place}"
    try:
        write_record(root, report_of(place), record, sync=True)
    except OSError as error:  # the job is what counts
        logger.warning("the report of %s/%s cannot be written (%s): %s", root, name, error.strerror, record.report)
    os.rename(f"{root}/{name}", target)
    os.utime(fd)  # the time of its death
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
    return NotClaimed("dead", f"{path}: {error}; it was moved to {DEAD}/, and is {target} now")


def _failed(path: str, what: str, error: OSError) -> SpoolError:
    return SpoolError(f"{path} {what} ({error.strerror}); check the disk, and who may write there")
