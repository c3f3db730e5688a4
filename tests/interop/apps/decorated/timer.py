"""@timer: with the first numbers that are free, and with one of its own; in a worker, a mule and the spooler."""

import uwsgi
from uwsgidecorators import timer

from tests.interop.apps.noting import answering, note, place

LINES = 4


@timer(1)
def in_worker(signum: int) -> None:
    note(place(), signum)


@timer(1, target="mule2")
def in_mule(signum: int) -> None:
    note(place(), signum)


@timer(1, signum=99, target="spooler")
def in_spooler(signum: int) -> None:
    note(place(), signum)


application = answering(lambda: note([signum for signum in range(256) if uwsgi.signal_registered(signum)]))
