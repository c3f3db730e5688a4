"""Import the application in the standalone server's own process, where members are tasks.

Members' processes are watched by the master during an import; here a thread enforces the time limit, and a posix signal
interrupts the import.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._process.loader import PassingThrough, import_took_too_long
from trio_uwsgi._process.member_process import CANNOT_START
from trio_uwsgi._system.interpreter_exit import LONGEST, flush_output

if TYPE_CHECKING:
    from trio_uwsgi._process.app_name import AppReference

__all__ = ["STOPS", "in_time", "load_where_signals_are_obeyed"]

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_STDERR = 2


@contextlib.contextmanager
def in_time(app: str, seconds: float) -> Iterator[None]:
    """Print the stacks and end the process if the body takes longer than this; 0 is no limit.

    A thread does that, because the import may block in C code.
    """
    if not seconds:
        yield
        return
    done = threading.Event()
    threading.Thread(target=_end_in_time, args=(done, app, seconds), name="import_timeout", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _end_in_time(done: threading.Event, app: str, seconds: float) -> None:
    if done.wait(min(seconds, LONGEST)):
        return
    try:
        flush_output()
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        sys.stderr.write(f"trio-uwsgi: {import_took_too_long(app, seconds)}\n")
        flush_output()
    finally:
        os._exit(CANNOT_START)


class _Interrupted(PassingThrough):
    """Raised to interrupt an import for a posix signal that stops the server."""


async def load_where_signals_are_obeyed(app: AppReference) -> object:
    """Import the application on Trio's thread. If this process handles posix signals, one that stops it interrupts the
    import; otherwise it would only be handled after the import.

    Raises:
        BootError: as `AppReference.load`.
    """
    former = {number: signal.getsignal(number) for number in STOPS}
    if threading.current_thread() is not threading.main_thread() or not all(map(callable, former.values())):
        return app.load()

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = former[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)
        raise _Interrupted

    for number in STOPS:
        signal.signal(number, interrupt)
    try:
        return app.load()
    except _Interrupted:
        await trio.sleep_forever()  # the handler of the signal cancels this
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
