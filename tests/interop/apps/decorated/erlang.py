"""@erlang needs a plugin of uWSGI, and raises without it."""

from uwsgidecorators import erlang

from tests.interop.apps.noting import answering, note

LINES = 1


def begin() -> None:
    try:
        erlang("name")(print)
    except AttributeError as error:
        note(type(error).__name__)


application = answering(begin)
