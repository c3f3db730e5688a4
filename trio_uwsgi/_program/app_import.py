"""The import of the application in the program's own process, where members are tasks.

Nobody looks at the process from outside, as the master does where processes import; and while the main thread imports
it does nothing else.
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
from trio_uwsgi._system.interpreter_exit import LONGEST, flush_output

if TYPE_CHECKING:
    from trio_uwsgi._process.app_name import AppReference

__all__ = ["CANNOT_START", "STOPS", "in_time", "load_where_signals_are_obeyed"]

CANNOT_START = 4
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_STDERR = 2


@contextlib.contextmanager
def in_time(app: str, seconds: float) -> Iterator[None]:
    """End the process, with its stacks printed, if the body takes longer; 0 is no limit.

    A thread does, because the import may be in C.
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


class _CutShort(PassingThrough):
    """Raised out of an import, for a posix signal that is obeyed then."""


async def load_where_signals_are_obeyed(app: AppReference) -> object:
    """Import the application on Trio's thread. Where posix signals are obeyed, one of those that stop ends the import:
    otherwise nobody would look at it before that has ended.

    Raises:
        BootError: as `AppReference.load`.
    """
    former = {number: signal.getsignal(number) for number in STOPS}
    if threading.current_thread() is not threading.main_thread() or not all(map(callable, former.values())):
        return app.load()

    def cut(number: int, frame: FrameType | None) -> None:
        handler = former[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)
        raise _CutShort

    for number in STOPS:
        signal.signal(number, cut)
    try:
        return app.load()
    except _CutShort:
        await trio.sleep_forever()  # whoever obeys the signal cancels
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
