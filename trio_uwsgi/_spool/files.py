"""The directory of a spooler: how jobs are written to it and found in it.

Everything here blocks on the disk and does not use Trio. `claim.py` has what happens to a job that is run,
`directory.py` the handing out to spoolers.

A job is accepted when `write` returns. It is written under a temporary name and then renamed, so no reader sees an
incomplete job. With `sync`, first the file and then its name have been flushed to the disk when `write` returns. The
file is locked until then, so that a job is not run before it is accepted.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from trio_uwsgi._spool.claim import Claim, NotClaimed, claim_job, probe_job, release, set_due
from trio_uwsgi._spool.file_format import encode_job
from trio_uwsgi._spool.paths import (
    DEAD,
    NEW,
    RUNNING,
    TRIES,
    Found,
    due_of,
    fsync_folder,
    is_orphan,
    make_folder,
    new_path,
    remove,
    write_all,
)
from trio_uwsgi._spool.rules import PREFIX, is_job, is_priority, make_name
from trio_uwsgi._system.file_locks import try_lock
from trio_uwsgi._system.privileges import group_name, user_name
from trio_uwsgi.errors import ConfigError, SpoolError

__all__ = ["SpoolFolder"]

logger = logging.getLogger("trio_uwsgi")

# Seconds after which an unlocked file that still has its temporary name counts as left over from a crash.
_STALE = 60
_counter = itertools.count(1)


class SpoolFolder:
    """One directory with jobs.

    Args:
        path: where it is.
        now: the time of day, in seconds since the epoch.
    """

    __slots__ = ("_durable", "_host", "_probe_first", "now", "path")

    def __init__(self, path: str, now: Callable[[], float] = time.time) -> None:
        self.path = os.path.realpath(path)
        self.now = now
        self._host = os.uname().nodename
        # Directories of priorities whose names this process has flushed to the disk.
        self._durable: set[str] = set()
        # Jobs that could not be claimed the last time, see `claim.py`.
        self._probe_first: set[str] = set()

    def __repr__(self) -> str:
        return f"<SpoolFolder {self.path!r}>"

    # ----- preparing

    def prepare(self) -> None:
        """Create the directory if it does not exist, and remove what crashes have left.

        Raises:
            ConfigError: it cannot be used.
        """
        try:
            self._make()
            for folder in (DEAD, TRIES, RUNNING):
                make_folder(f"{self.path}/{folder}", 0o700)
            self._clear()
        except OSError as error:
            raise ConfigError(f"spooler {self.path}: {_reason(error)}", self._permission_hint()) from None

    def _make(self) -> None:
        missing = []
        path = self.path
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for folder in reversed(missing):
            make_folder(folder, 0o700)
        if not os.path.isdir(self.path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        effective = os.access in os.supports_effective_ids
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=effective):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _permission_hint(self) -> str:
        try:
            status = os.stat(self.path)
        except OSError:
            return f"create it, writable by {user_name(os.geteuid())}, or name another directory"
        owner = (
            f"it belongs to {user_name(status.st_uid)}, {group_name(status.st_gid)}, "
            f"with mode {stat.S_IMODE(status.st_mode):04o}"
        )
        return (
            f"{owner}, but {user_name(os.geteuid())} must be able to read and write there; chown it, or name another "
            f"directory"
        )

    def _clear(self) -> None:
        """Remove files that were never finished, and records of jobs that are gone."""
        for folder in ("", *self.priorities(), DEAD, *self.priorities(DEAD), TRIES, *self.priorities(TRIES)):
            with suppress(OSError), os.scandir(f"{self.path}/{folder}") as entries:
                for entry in entries:
                    if entry.name.startswith(NEW):
                        self._clear_new(entry.path)
                    elif folder.startswith(TRIES) and entry.name.startswith(PREFIX):
                        if not os.path.lexists(f"{self.path}{folder.removeprefix(TRIES)}/{entry.name}"):
                            os.unlink(entry.path)
                    elif folder.startswith(DEAD) and is_orphan(entry.path):
                        self._clear_new(entry.path)

    def _clear_new(self, path: str) -> None:
        with suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                # Not the mtime, which says when the job may run. A younger file may not have been locked yet.
                if time.time() - os.fstat(fd).st_ctime > _STALE and try_lock(fd):
                    os.unlink(path)
            finally:
                release(fd)

    def priorities(self, below: str = "") -> list[str]:
        """The directories of priorities in `below`, as relative paths, in the order of the priorities."""
        with suppress(OSError), os.scandir(f"{self.path}/{below}") as entries:
            found = [entry.name for entry in entries if is_priority(entry.name) and entry.is_dir(follow_symlinks=False)]
            return [f"{below}/{name}".lstrip("/") for name in sorted(found, key=int)]
        return []

    # ----- writing

    def write(
        self,
        pairs: Sequence[tuple[bytes, bytes]],
        body: bytes | memoryview = b"",
        *,
        priority: int | None = None,
        at: float | None = None,
        sync: bool = True,
    ) -> str:
        """Write a job and return the path of its file. From then on it is accepted.

        Args:
            pairs: its vars.
            body: its body.
            priority: from 0 on; None for a job without one.
            at: when it may run, in seconds since the epoch; None is at once.
            sync: flush it to the disk before this returns. Otherwise it survives a crash of this process, but not of
                the machine.
        Raises:
            SpoolError: the disk is full or read-only, or this user may not write there. No job was queued.
            JobTooLarge: the vars are too long.
        """
        head = encode_job(pairs)
        folder = self.path if priority is None else f"{self.path}/{priority}"
        now = self.now()
        name = make_name(self._host, (os.getpid(), next(_counter)), secrets.randbits(31), now)
        new = new_path(folder)
        fd = -1
        try:
            if priority is not None:
                self._make_priority(folder, sync)
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if not try_lock(fd):  # cannot happen: no other process knows its name
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            _write_job(fd, head, body)
            set_due(fd, now if at is None else at)
            if sync:
                os.fsync(fd)
            os.rename(new, f"{folder}/{name}")
            if sync:
                fsync_folder(folder)
        except OSError as error:
            # After the rename only `fsync` can fail. The state of the disk is unknown then, so the job is removed.
            with suppress(OSError):
                remove(f"{folder}/{name}")
                remove(new)
            raise SpoolError(f"the job was not accepted: {folder}: {_reason(error)}; {_remedy(error)}") from error
        finally:
            if fd >= 0:
                release(fd)
        return f"{folder}/{name}"

    def _make_priority(self, folder: str, sync: bool) -> None:
        if folder in self._durable and os.path.isdir(folder):
            return
        with suppress(FileExistsError):
            os.mkdir(folder)  # for the whole world as far as the umask lets it, as uWSGI does
        if sync:  # also if another process made it: it may be just about to do this
            fsync_folder(self.path)
            self._durable.add(folder)

    # ----- finding

    def scan(self) -> Iterator[Found]:
        """Every job, in the order of the disk. Does not keep them in memory.

        Raises:
            SpoolError: the directory cannot be read.
        """
        self._probe_first.clear()  # most of these jobs have been finished by another process, and would never leave it
        try:
            yield from self._scan_folder("")
        except OSError as error:
            raise SpoolError(f"spooler {self.path}: {_reason(error)}; {self._permission_hint()}") from error
        for folder in self.priorities():
            try:
                yield from self._scan_folder(f"{folder}/")
            except OSError as error:
                logger.warning("spooler %s: priority folder %s cannot be read (%s)", self.path, folder, _reason(error))

    def _scan_folder(self, folder: str) -> Iterator[Found]:
        with os.scandir(f"{self.path}/{folder}") as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:  # the job has been run meanwhile
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield Found(folder + entry.name, due_of(status), status.st_size)

    def stat_job(self, name: str) -> Found | None:
        """One job; None if there is no such file, or if it is not a job."""
        if not is_job(name):
            return None
        try:
            status = os.lstat(f"{self.path}/{name}")
        except OSError:
            return None
        return Found(name, due_of(status), status.st_size) if stat.S_ISREG(status.st_mode) else None

    def claim(self, name: str) -> Claim | NotClaimed:
        """Lock a job in order to run it. See `NotClaimed` for the other results."""
        if name in self._probe_first:
            answer = probe_job(self.path, name, self.now)
            if answer is not None and answer.why != "gone":
                return answer
            self._probe_first.discard(name)
        claim = claim_job(self.path, name, self.now)
        if isinstance(claim, NotClaimed) and claim.why in ("locked", "unfinished", "unreadable"):
            self._probe_first.add(name)
        return claim


def _write_job(fd: int, head: bytes, body: bytes | memoryview) -> None:
    written = os.writev(fd, (head, body))  # nearly always writes everything
    write_all(fd, head[written:])
    write_all(fd, memoryview(body).cast("B")[max(written - len(head), 0) :])


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk and spool the job again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"make it writable by {user_name(os.geteuid())} and spool the job again"
    if error.errno == errno.ENOENT:
        return "create the directory, or restart the server, which creates it"
    return "check the disk and spool the job again"
