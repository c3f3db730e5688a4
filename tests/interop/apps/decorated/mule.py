"""@mule: the program of a mule, which runs once; afterwards the mule handles signals and messages."""

import uwsgi
from uwsgidecorators import mule, postfork

from tests.interop.apps.noting import answering, note, place

LINES = 3


@mule(1)
def program() -> None:
    note("the program of", place())


@postfork
def after() -> None:
    if uwsgi.mule_id() == 1:
        note("after it in", place())


def on_message(message: bytes) -> None:
    note(place(), "handles", message)


uwsgi.mule_msg_hook = on_message
application = answering(lambda: uwsgi.mule_msg(b"message", 1))
