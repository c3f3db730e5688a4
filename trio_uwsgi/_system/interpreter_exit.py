"""End a process: the interpreter's shutdown with a time limit, and a log line about what it waited for.

Theory. The runtime ends in time, but then the interpreter itself waits: for threads that are not daemons, for the jobs
of executors, and for `atexit` functions, one of which joins the children of multiprocessing. Nothing limits that, so
one thread of the application can keep a process that serves nothing. Here the same steps run in the same order, and a
daemon thread beside them enforces the time limit: it logs what the shutdown still waits for, and ends the process with
the intended exit code.

It is a thread because the main thread is stuck by then, perhaps in C code.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread
import contextlib
import logging
import os
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

__all__ = [
    "AFTER_A_FAILURE",
    "AT_LEAST",
    "LONGEST",
    "end_process",
    "exit_code",
    "flush_output",
    "has_started",
    "lingering",
    "log_lingering",
    "mark_started",
    "mark_stopping",
    "seconds_left",
    "set_mercy",
]

logger = logging.getLogger("trio_uwsgi")

# Seconds that the interpreter's shutdown may take: after a failed start, when no accepted work can be lost; and at the
# least, after a stop that used all of the mercy.
AFTER_A_FAILURE = 3.0
AT_LEAST = 1.0
# Longest wait of a thread, in seconds: Python fails where now plus the wait is beyond TIMEOUT_MAX.
LONGEST = threading.TIMEOUT_MAX / 2
# Seconds for writing the log line. A stuck thread may hold the lock of the logging handler.
_LOG_TIMEOUT = 1.0

_IDLE = concurrent.futures.thread._worker.__code__

_mercy = AFTER_A_FAILURE
_stop_requested_at: float | None = None  # on the monotonic clock
_started = False


def set_mercy(mercy: float) -> None:
    """Set the time limit of the interpreter's shutdown after a stop: the same mercy as for the runtime."""
    global _mercy
    _mercy = mercy


def mark_started() -> None:
    """Note that the server handles posix signals from now on: one that ends the process after the run is not a stop
    before anything was served.
    """
    global _started
    _started = True


def has_started() -> bool:
    """Whether `mark_started` was called."""
    return _started


def mark_stopping() -> None:
    """Note that a stop was requested now."""
    global _stop_requested_at
    _stop_requested_at = time.monotonic()


def seconds_left() -> float:
    """The time limit of the interpreter's shutdown, from now on."""
    if _stop_requested_at is None:
        return min(_mercy, AFTER_A_FAILURE)
    return max(AT_LEAST, _stop_requested_at + _mercy - time.monotonic())


def exit_code(error: SystemExit) -> int:
    """The exit code that Python derives from it; a text is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def lingering() -> list[str]:
    """What the interpreter's shutdown waits for: threads that are not daemons, and multiprocessing's children. Idle
    threads of executors do not count, because the shutdown ends them.
    """
    frames = sys._current_frames()
    own = (threading.main_thread(), threading.current_thread())
    waits = [thread for thread in threading.enumerate() if not thread.daemon and thread not in own]
    names = [f"thread {thread.name!r}" for thread in waits if not _is_idle(frames.get(thread.ident or 0))]
    # Not `active_children()`, which reaps ended children, while the application may wait for their status.
    multiprocessing = sys.modules.get("multiprocessing.process")
    children = [] if multiprocessing is None else list(multiprocessing._children)
    names += [f"process {child.pid} ({child.name!r} of multiprocessing)" for child in children if not child.daemon]
    return names


def log_lingering(who: str) -> None:
    """Log what the interpreter's shutdown is going to wait for, if there is anything.

    Args:
        who: who has stopped.
    """
    if names := lingering():
        logger.warning("%s has stopped; the process waits for these to end: %s", who, ", ".join(names))


def _is_idle(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code is _IDLE


def flush_output() -> None:
    """Flush the standard streams: before a fork, or both processes would print the buffers; and before `os._exit`."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # no stream, a closed one, or a closed pipe
            continue


def end_process(code: int, seconds: float = AFTER_A_FAILURE, who: str = "this program") -> NoReturn:
    """Shut the interpreter down from here as Python does: wait for threads and call the atexit functions, but no longer
    than this number of seconds.

    Args:
        code: the exit code, in any case.
        seconds: the time limit.
        who: for the log.
    """
    with contextlib.suppress(RuntimeError):  # the system refused another thread
        threading.Thread(target=_end_in_time, args=(code, seconds, who), name="the end in time", daemon=True).start()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls at its own end
        atexit._run_exitfuncs()
        flush_output()
    finally:
        os._exit(code)


def _end_in_time(code: int, seconds: float, who: str) -> None:
    time.sleep(min(seconds, LONGEST))
    try:
        line = threading.Thread(target=_log_late, args=(seconds, who), daemon=True)
        line.start()
        line.join(_LOG_TIMEOUT)
    finally:
        os._exit(code)


def _log_late(seconds: float, who: str) -> None:
    names = lingering()
    if not names:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        names = [f"a call at Python's exit, in {_place(frame)}"]
    logger.warning(
        "%s (process %d) has stopped, but did not exit within %.1f s and is ended now; still running: %s",
        who,
        os.getpid(),
        seconds,
        ", ".join(names),
    )
    flush_output()


def _place(frame: FrameType | None) -> str:
    """Where the main thread is, below this module: the function that the interpreter's shutdown has called."""
    place = "C code"
    while frame is not None and frame.f_code.co_filename != __file__:
        place = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back
    return place
