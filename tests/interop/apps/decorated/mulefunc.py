"""@mulefunc: in any mule, in one, and in one of a farm."""

from uwsgidecorators import mulefunc

from tests.interop.apps.noting import answering, note, place

LINES = 4


@mulefunc
def anywhere(*args: object, **kwargs: object) -> None:
    note("in", place().split()[0], args, kwargs)


@mulefunc(2)
def in_mule_2(value: object) -> None:
    note("in", place(), value)


@mulefunc(b"f")
def in_farm(value: object) -> None:
    note("in the farm's", place(), value)


def begin() -> None:
    note(anywhere(1, x="y"), in_mule_2({"a": 1}), in_farm(b"bytes"))


application = answering(begin)
