"""@mulemsg: messages of one mule."""

import uwsgi
from uwsgidecorators import mulemsg

from tests.interop.apps.noting import answering, note, place

LINES = 2


@mulemsg(3)
def message(data: bytes) -> None:
    note(place(), "gets", data)


def begin() -> None:
    uwsgi.mule_msg(b"one", 3)
    uwsgi.mule_msg("two", 3)


application = answering(begin)
