"""@farm: messages of a farm, whose one mule is the third."""

import uwsgi
from uwsgidecorators import farm

from tests.interop.apps.noting import answering, note, place

LINES = 2


@farm("f")
def message(data: bytes) -> None:
    note(place(), "gets", data)


def begin() -> None:
    uwsgi.farm_msg("f", b"one")
    uwsgi.mule_msg(b"two", b"f")


application = answering(begin)
