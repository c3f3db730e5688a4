"""The spooler of the module `uwsgi`. The function `uwsgi.spooler` is an assignment: see `hooks.py`.

Files of jobs are written and read by the calling thread, so no function here needs to wait for Trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import whole
from trio_uwsgi.errors import NoSpooler, SpoolError
from trio_uwsgi.uwsgi import _plain as plain

if TYPE_CHECKING:
    from trio_uwsgi._spool.functions import Job

__all__ = [
    "job_dict",
    "send_to_spooler",
    "set_spooler_frequency",
    "spool",
    "spooler_get_task",
    "spooler_jobs",
    "spooler_pid",
    "spooler_pids",
]


def spool(message_dict: dict[bytes, bytes] | None = None, /, **kwargs: bytes) -> bytes:
    """Queue a job, given as a dict of bytes or as keywords, and return the path of its file.

    uWSGI: keywords work, and the caller's dict keeps its `body`. A value of more than 64 KiB raises `JobTooLarge`;
        there it is cut. The file is on the disk when this returns.
    """
    if message_dict is None and kwargs:
        message_dict = {name.encode(): value for name, value in kwargs.items()}
    elif not isinstance(message_dict, dict):
        raise SpoolError("The argument of spooler callable must be a dictionary")
    job: dict[str | bytes, bytes] = {}
    for name, value in message_dict.items():
        if not isinstance(name, bytes) or isinstance(value, str | int) or value is None:
            raise SpoolError(
                f"spooler callable dictionary must contains only bytes, not {name!r}: {type(value).__name__}"
            )
        job[name] = bytes(value)
    return plain.spool(job)


send_to_spooler = spool


def spooler_jobs() -> list[bytes]:
    """List the paths of the jobs in the first directory.

    uWSGI: those with a priority too.
    """
    return plain.spooler_jobs()


def spooler_get_task(task_path: str, /) -> dict[bytes | str, bytes] | None:
    """Read a job as its function gets it; None if there is none.

    uWSGI: also while it runs, and in the directories of spoolers only; there any file is read.
    """
    if not isinstance(task_path, str):
        raise TypeError(f"uwsgi.spooler_get_task() takes a path as str, not {type(task_path).__name__}")
    try:
        job = plain.spooler_get_task(task_path)
    except NoSpooler:
        return None
    return None if job is None else job_dict(job, job.path)


def set_spooler_frequency(frequency: int, /) -> Literal[True]:
    """Set the interval, in seconds, at which spoolers look for jobs whose time has come."""
    native.set_spooler_frequency(whole(frequency))
    return True


def spooler_pid() -> int:
    """Return the process id of the first spooler."""
    return native.spooler_pid()


def spooler_pids() -> list[int]:
    """Return the process ids of all spoolers."""
    return native.spooler_pids()


def job_dict(job: Job, name: str) -> dict[bytes | str, bytes]:
    """A job as uWSGI passes it on: its own vars have keys of bytes, the two of the spooler keys of str."""
    found: dict[bytes | str, bytes] = {"spooler_task_name": name.encode()}
    for key, value in job.vars.items():
        found[key] = value  # noqa: PERF403  # the keys of the two are of other types
    if job.body:
        found["body"] = job.body
    return found
