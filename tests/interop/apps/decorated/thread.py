"""@thread: a call starts a thread, and returns the function."""

import threading

from uwsgidecorators import thread

from tests.interop.apps.noting import answering, note, place

LINES = 2
caller: int


@thread
def work(value: object) -> None:
    note(place(), value, threading.get_ident() != caller, threading.current_thread().daemon)


def begin() -> None:
    global caller
    caller = threading.get_ident()
    note(work("argument").__name__)


application = answering(begin)
