"""The end of a process: Python's own end, with a limit of time and a word about who held it up.

Theory. A runtime ends in time, but then Python itself waits: for threads that are no daemons, for the jobs of
executors, for functions of `atexit`, one of which joins the children of multiprocessing. Nothing limits any of that, so
one thread of the application keeps a server alive that serves nobody. Here the same things happen in the same order,
and beside them a thread of ours waits for the end; when the time is up it says who was still there, and ends the
process with the code that it was to have.

It is a thread, because the main one is stuck by then, perhaps in C; a daemon, because nobody is to wait for it; and one
of a kind, because the process ends with it.
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
    "mark_started",
    "mark_stopping",
    "seconds_left",
    "set_mercy",
]

logger = logging.getLogger("trio_uwsgi")

# Seconds that Python's own end may take: after a start that failed, where nothing that was accepted can be lost; and
# after a stop in any case, however much of the mercy was used.
AFTER_A_FAILURE = 3.0
AT_LEAST = 1.0
# What a thread can wait for at once, in seconds, counted from now: Python fails where the end is beyond TIMEOUT_MAX.
LONGEST = threading.TIMEOUT_MAX / 2
# Seconds in which the log has taken a line. Its lock may be with a thread that is stuck.
_LOG_TIMEOUT = 1.0

_IDLE = concurrent.futures.thread._worker.__code__

_mercy = AFTER_A_FAILURE
_stop_requested_at: float | None = None  # on the monotonic clock
_started = False


def set_mercy(mercy: float) -> None:
    """What keeps Python from ending may take as long as what the runtime runs."""
    global _mercy
    _mercy = mercy


def mark_started() -> None:
    """This program obeys posix signals by itself from now on; whatever ends it later cuts something off."""
    global _started
    _started = True


def has_started() -> bool:
    """Has it?"""
    return _started


def mark_stopping() -> None:
    """This program was told to stop."""
    global _stop_requested_at
    _stop_requested_at = time.monotonic()


def seconds_left() -> float:
    """What Python's own end may take in this program, which has ended what it did, or could not begin."""
    if _stop_requested_at is None:
        return min(_mercy, AFTER_A_FAILURE)
    return max(AT_LEAST, _stop_requested_at + _mercy - time.monotonic())


def exit_code(error: SystemExit) -> int:
    """What Python makes of it; a text is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def lingering() -> list[str]:
    """Whom Python's end waits for: threads that are no daemons, and multiprocessing's children. Executors' threads
    that have nothing to do are none of them, they are told to end.
    """
    frames = sys._current_frames()
    own = (threading.main_thread(), threading.current_thread())
    waits = [thread for thread in threading.enumerate() if not thread.daemon and thread not in own]
    names = [f"thread {thread.name!r}" for thread in waits if not _is_idle(frames.get(thread.ident or 0))]
    # Not `active_children()`, which takes the status of those that have ended, and somebody may wait for just that.
    multiprocessing = sys.modules.get("multiprocessing.process")
    children = [] if multiprocessing is None else list(multiprocessing._children)
    names += [f"process {child.pid} ({child.name!r} of multiprocessing)" for child in children if not child.daemon]
    return names


def _is_idle(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code is _IDLE


def flush_output() -> None:
    """Before a fork, or both processes would print it; and before `os._exit`, which does not."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # no stream, closed, or its reader has gone
            continue


def end_process(code: int, seconds: float = AFTER_A_FAILURE, who: str = "this program") -> NoReturn:
    """End the process as Python does, after its threads and with its atexit functions, but from here; after so many
    seconds also without them.

    Args:
        code: the exit code, in any case.
        seconds: how long that may take.
        who: for the log.
    """
    with contextlib.suppress(RuntimeError):  # there is no room for one more thread
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
        line = threading.Thread(target=_log_lingering, args=(seconds, who), daemon=True)
        line.start()
        line.join(_LOG_TIMEOUT)
    finally:
        os._exit(code)


def _log_lingering(seconds: float, who: str) -> None:
    names = lingering()
    if not names:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        names = [f"what Python calls at its end, in {_place(frame)}"]
    logger.warning(
        "%s (process %d) had ended, and is cut off %.1f s later with these still there: %s",
        who,
        os.getpid(),
        seconds,
        ", ".join(names),
    )
    flush_output()


def _place(frame: FrameType | None) -> str:
    """Where the main thread is, below this module: the function that Python's end has called."""
    place = "C code"
    while frame is not None and frame.f_code.co_filename != __file__:
        place = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back
    return place
