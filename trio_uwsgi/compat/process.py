"""What the module `uwsgi` says of processes, the log, the clock and the runtime, and its time limits and alarms."""

from __future__ import annotations

import logging
import os
import time
from typing import Literal

from trio_uwsgi import uwsgi as native
from trio_uwsgi._system.process_memory import process_memory
from trio_uwsgi.compat import facts
from trio_uwsgi.compat.answers import Data, TrueOrNone, as_name, true_or_none, whole
from trio_uwsgi.compat.calling import current_member

__all__ = [
    "alarm",
    "i_am_the_spooler",
    "log",
    "logsize",
    "masterpid",
    "mem",
    "micros",
    "ready",
    "reload",
    "set_user_harakiri",
    "setprocname",
    "stop",
    "worker_id",
]

logger = logging.getLogger("trio_uwsgi.app")


def masterpid() -> int:
    """Return the process id of the master, also while the application is imported.

    uWSGI: it is never 0, because there is always a master.
    """
    return facts.current().master_pid


def worker_id() -> int:
    """Return the number of the worker that runs the calling code; 0 elsewhere."""
    return native.worker_id()


def i_am_the_spooler() -> TrueOrNone:
    """Tell whether a spooler runs the calling code: True or None."""
    return true_or_none(native.i_am_the_spooler())


def reload() -> Literal[True]:
    """Reload the application without downtime, and return True at once.

    uWSGI: the running version stays if the new one does not start. Where members are tasks it raises `NotServing`.
    """
    native.reload()
    return True


def stop() -> Literal[True]:
    """Stop the server gracefully, and return True at once.

    uWSGI: this request, and all others that run, have `Config.mercy` to finish.
    """
    native.stop()
    return True


def ready() -> TrueOrNone:
    """Tell whether a member runs the calling code, so that the start is over: True or None."""
    return true_or_none(current_member())


def set_user_harakiri(seconds: int, /) -> None:
    """Set the time limit of this request, handler, message or job, counted from now; 0 clears it.

    uWSGI: it limits this work alone, and cancels it; there it kills the process with all its threads. In code that
        blocks in a process without threads, the master kills the process here too. Less than 0 is refused.
    """
    native.set_user_harakiri(whole(seconds))


def setprocname(name: str, /) -> None:
    """Name the process, as `ps` shows it.

    uWSGI: with the extra `procname` installed; without it, the short name that `top` shows.
    """
    native.setprocname(as_name("setprocname", name))


def alarm(alarm: str, msg: Data, /) -> None:
    """Raise an alarm.

    uWSGI: an alarm that does not exist, and a message that is too long, raise `AlarmError`; there they are ignored.
    """
    native.alarm(as_name("alarm", alarm), bytes(msg) if isinstance(msg, bytearray | memoryview) else msg)


def log(logline: str, /) -> Literal[True]:
    """Write a line to the log: to the logger `trio_uwsgi.app`, at the level INFO."""
    logger.info("%s", as_name("log", logline))
    return True


def logsize() -> int:
    """Return 0: the log goes to standard error or to Python's logging, and has no file of its own."""
    return 0


def mem() -> tuple[int, int]:
    """Return how much memory this process has in use, and how much address space, in bytes.

    uWSGI: where the system has no /proc, the most that it had in use, and 0.
    """
    return process_memory(os.getpid())


def micros() -> int:
    """Return the time of day in microseconds since the epoch."""
    return time.time_ns() // 1000
