"""@harakiri: a call within its limit, and one that raises."""

from uwsgidecorators import harakiri

from tests.interop.apps.noting import answering, note

LINES = 2


@harakiri(60)
def quick(value: object, more: object = None) -> object:
    return value, more


@harakiri(60)
def raises() -> None:
    raise ValueError("on purpose")


def begin() -> None:
    note(quick("a", more="b"))
    try:
        raises()
    except ValueError as error:
        note(error)


application = answering(begin)
