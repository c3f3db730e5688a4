"""@signal: handlers in a worker, a mule, all mules and the spooler; the function is what it was."""

import uwsgi
from uwsgidecorators import signal

from tests.interop.apps.noting import answering, note, place

LINES = 7


@signal(17)
def in_worker(signum: int) -> None:
    note(place(), signum)


@signal(18, target="mule1")
def in_mule(signum: int) -> None:
    note(place(), signum)


@signal(19, target="mules")
def in_mules(signum: int) -> None:
    note(place(), signum)


@signal(20, target="spooler")
def in_spooler(signum: int) -> None:
    note(place(), signum)


def begin() -> None:
    for signum in (17, 18, 19, 20):
        uwsgi.signal(signum)
    note(in_worker.__name__)


application = answering(begin)
