"""What runs, written down, so that a job that is killed together with its process has failed.

A spooler has one small file in `.running`, which it keeps locked, and in which the name of a job stands before the job
begins. A lock ends with its process: whoever finds such a file without one knows what was running. That costs one write
to the system's memory for each job, and nothing on the disk; a power cut forgets it, and then the job is run again and
has not failed.

With the name stands how often the job had failed before. If it has failed more often since, this failure has been
counted already: so it does not matter where in the counting a crash happens, or who counts.

A disk that does not take this is no reason not to run jobs, which may be what makes room: it is logged.
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

_HEAD = Struct("<IH")  # tries, and the bytes of the name that follows; no bytes: nothing runs
_NOTHING = _HEAD.pack(0, 0)
# A name inside of a directory, and that of the directory, have at most 255 bytes each.
_LONGEST = _HEAD.size + 2 * 256

REPORT = "its process died while it ran"

# What says how long a job waits that has failed so often, in seconds; None: it is given up.
DelayAfter: TypeAlias = Callable[[Claim, int], float | None]


class Running:
    """What one spooler runs. Close it when the spooler ends; a process that dies leaves it to `recover`."""

    __slots__ = ("_fd", "_folder", "_logged", "_path")

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder.path
        self._fd = -1  # until the first job
        self._path = ""
        self._logged = False

    def begin(self, claim: Claim) -> None:
        """This job is about to run. To be called before anything of it is."""
        name = os.fsencode(claim.name)
        self._write(_HEAD.pack(claim.tries, len(name)) + name)

    def end(self) -> None:
        """Nothing runs any more. To be called before `Claim.keep`; after the others it may be, and need not."""
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
                    "spooler %s: its %s cannot be written (%s): a job that ends its process will not count as failed; "
                    "check the disk, and who may write there",
                    *(self._folder, RUNNING, error.strerror),
                )

    def abandon(self) -> None:
        """The spooler has died: leave what it ran to `recover`, as a process that is killed does."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            release(fd)

    def close(self) -> None:
        """Nothing will run any more."""
        if self._fd >= 0:
            with suppress(OSError):  # somebody cleaned up
                os.unlink(self._path)
            self.abandon()


class RunningRecords:
    """What everybody runs who runs jobs of one directory, to see that somebody has died. Close it in the end.

    To be asked with each job: looking costs two system calls, and one more for each spooler that there is.
    """

    __slots__ = ("_fds", "_folder", "_listed")

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = f"{folder.path}/{RUNNING}"
        self._fds: list[int] = []
        self._listed = -1  # when the folder had been changed that the descriptors are of

    def has_leftover(self) -> bool:
        """Is there one that nobody holds? Then `recover` has something to do."""
        try:
            changed = os.stat(self._folder).st_mtime_ns
            if changed != self._listed:
                self.close()
                self._listed = changed
                for file in os.listdir(self._folder):
                    with suppress(OSError):  # its spooler has ended meanwhile
                        self._fds.append(os.open(f"{self._folder}/{file}", READ_FLAGS))
            return not all(map(locked_elsewhere, self._fds))
        except OSError:  # there are none
            return False

    def close(self) -> None:
        """Look at none any more."""
        self._listed = -1
        while self._fds:
            os.close(self._fds.pop())


def _new_file(folder: str) -> tuple[str, int]:
    while True:
        path = new_path(folder)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Somebody's `recover` may have come between and removed it: then another.
        if try_lock(fd) and os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)


def recover(folder: SpoolFolder, delay_after_failure: DelayAfter) -> list[str]:
    """Count the failure of jobs whose process died while they ran.

    Args:
        folder: where to look.
        delay_after_failure: what becomes of such a job.
    Returns:
        Where those jobs are now: their names, or `dead/` and their names.
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
            logger.warning("spooler %s: what ran when a process died is left for later: %s", folder.path, error)
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
            elif claim.why == "locked":  # it runs again already; whoever comes next sees how that ended
                return ""
            elif claim.detail:
                logger.warning("spooler: %s", claim.detail)
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
