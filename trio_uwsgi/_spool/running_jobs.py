"""Records of running jobs, so that an attempt counts as failed if its process is killed.

Each spooler keeps one small file in `.running` locked, and writes the name of each job into it before the job begins.
The lock ends with the process, so an unlocked file names a job whose process died. This costs one write to the page
cache per job and nothing on the disk; after a power cut the job is run again without a failed attempt.

The record also has the number of failed attempts before the job began. If the job has more by now, this failure has
been counted already. So it does not matter at which point a crash happens, or which process counts.

If the disk refuses the record, that is logged and jobs still run; they may be what makes room on the disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

from trio_uwsgi._spool.claim import Claim, release
from trio_uwsgi._spool.paths import READ_FLAGS, RUNNING, make_folder, new_path
from trio_uwsgi._spool.rules import is_job
from trio_uwsgi._system.file_locks import locked_elsewhere, try_lock
from trio_uwsgi.errors import SpoolError

if TYPE_CHECKING:
    from trio_uwsgi._spool.files import SpoolFolder

__all__ = ["DelayAfter", "Running", "RunningRecords", "recover"]

logger = logging.getLogger("trio_uwsgi")

_HEAD = Struct("<IH")  # failed attempts, and the length of the name that follows; 0: no job runs
_NOTHING = _HEAD.pack(0, 0)
# The name of a file and that of a priority's directory have at most 255 bytes each.
_LONGEST = _HEAD.size + 2 * 256

REPORT = "its process died while it ran"

# Seconds until the next attempt of a job that has failed this many times; None: there is none.
DelayAfter: TypeAlias = Callable[[Claim, int], float | None]


class Running:
    """The record of what one spooler runs. Close it when the spooler ends; after a crash `recover` reads it."""

    __slots__ = ("_fd", "_folder", "_logged", "_path")

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder.path
        self._fd = -1  # until the first job
        self._path = ""
        self._logged = False

    def begin(self, claim: Claim) -> None:
        """This job is about to run. Must be called before any of its code runs."""
        name = os.fsencode(claim.name)
        self._write(_HEAD.pack(claim.tries, len(name)) + name)

    def end(self) -> None:
        """No job runs any more. Must be called before `Claim.keep`; optional after the other ends of a claim."""
        self._write(_NOTHING)

    def _write(self, data: bytes) -> None:
        try:
            if self._fd < 0:
                make_folder(f"{self._folder}/{RUNNING}", 0o700)
                self._path, self._fd = _new_file(f"{self._folder}/{RUNNING}")
            os.pwrite(self._fd, data, 0)
            self._logged = False
        except OSError as error:
            if not self._logged:
                self._logged = True
                logger.error(
                    "spooler %s: %s cannot be written (%s): if a job kills its process, that will not count as a "
                    "failed attempt; check the disk and its permissions",
                    *(self._folder, RUNNING, error.strerror),
                )

    def abandon(self) -> None:
        """Leave the record to `recover`, as a killed process does."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            release(fd)

    def close(self) -> None:
        """No job will run any more."""
        if self._fd >= 0:
            with suppress(OSError):  # the file has been removed
                os.unlink(self._path)
            self.abandon()


class RunningRecords:
    """The records of all spoolers of a directory, to detect that one of them has died. Close it in the end.

    Checked with each job: a check costs two system calls and one more per spooler.
    """

    __slots__ = ("_fds", "_folder", "_listed")

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = f"{folder.path}/{RUNNING}"
        self._fds: list[int] = []
        self._listed = -1  # the folder's modification time when `_fds` were opened

    def has_leftover(self) -> bool:
        """Is there an unlocked record? Then `recover` must be called."""
        try:
            changed = os.stat(self._folder).st_mtime_ns
            if changed != self._listed:
                self.close()
                self._listed = changed
                for file in os.listdir(self._folder):
                    with suppress(OSError):  # its spooler has ended meanwhile
                        self._fds.append(os.open(f"{self._folder}/{file}", READ_FLAGS))
            return not all(map(locked_elsewhere, self._fds))
        except OSError:  # there is no `.running`
            return False

    def close(self) -> None:
        """Close the files."""
        self._listed = -1
        while self._fds:
            os.close(self._fds.pop())


def _new_file(folder: str) -> tuple[str, int]:
    while True:
        path = new_path(folder)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # `recover` of another process may have removed the file before it was locked: then make another one.
        if try_lock(fd) and os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)


def recover(folder: SpoolFolder, delay_after_failure: DelayAfter) -> list[str]:
    """Count a failed attempt for each job whose process died while it ran.

    Args:
        folder: the directory.
        delay_after_failure: says when such a job is retried.
    Returns:
        The names of these jobs; with `dead/` in front for those that were moved there.
    """
    names = []
    try:
        files = sorted(os.listdir(f"{folder.path}/{RUNNING}"))
    except OSError:
        files = []
    for file in files:
        try:
            name = _recover_one(folder, f"{folder.path}/{RUNNING}/{file}", delay_after_failure)
        except (OSError, SpoolError) as error:
            logger.warning(
                "spooler %s: the job of a process that died could not be checked, trying again later: %s",
                *(folder.path, error),
            )
        else:
            if name:
                names.append(name)
    return names


def _recover_one(folder: SpoolFolder, path: str, delay_after_failure: DelayAfter) -> str:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not try_lock(fd):
        os.close(fd)
        return ""
    try:
        if not os.fstat(fd).st_nlink:
            return ""
        name, tries = _read(fd)
        counted = ""
        if is_job(name):
            claim = folder.claim(name)
            if isinstance(claim, Claim):
                counted = _count(folder, claim, tries, delay_after_failure)
            elif claim.why == "locked":  # it is being run again; the record stays for the next check
                return ""
            elif claim.detail:
                logger.warning("spooler %s: a job cannot be run: %s", folder.path, claim.detail)
        os.unlink(path)
        return counted
    finally:
        release(fd)


def _count(folder: SpoolFolder, claim: Claim, tries: int, delay_after_failure: DelayAfter) -> str:
    if claim.tries != tries:
        claim.keep()
        return ""
    delay = delay_after_failure(claim, tries + 1)
    if delay is None:
        claim.move_to_dead(REPORT)
    else:
        claim.retry(folder.now() + delay, REPORT)
    return claim.path.removeprefix(f"{folder.path}/")


def _read(fd: int) -> tuple[str, int]:
    data = os.pread(fd, _LONGEST, 0)
    if len(data) < _HEAD.size:
        return "", 0
    tries, size = _HEAD.unpack_from(data)
    name = data[_HEAD.size : _HEAD.size + size]
    return "" if b"\0" in name else os.fsdecode(name), tries
