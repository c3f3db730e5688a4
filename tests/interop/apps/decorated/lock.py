"""@lock: user lock 0 is held while the function runs; a spooler does not call it."""

import uwsgi
from uwsgidecorators import lock, spool

from tests.interop.apps.noting import answering, note, place

LINES = 4


@lock
def locked(value: object) -> object:
    note(place(), uwsgi.is_locked(), value)
    return value


@lock
def raises() -> None:
    raise ValueError("on purpose")


@spool
def job(variables: dict[str, str]) -> None:
    note(place(), locked("in a job"))


def begin() -> None:
    try:
        raises()
    except ValueError as error:
        note(error)
    note(locked("in a request"))
    job({})


application = answering(begin)
