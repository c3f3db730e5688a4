"""@postfork: in every worker, mule and spooler, in order; with a number in that worker only."""

from uwsgidecorators import postfork

from tests.interop.apps.noting import answering, note, place

LINES = 7  # different lines that are noted
seen: set[str] = set()  # the members that have called the first one; in tasks all of them share it


@postfork
def first() -> None:
    seen.add(place())


@postfork(1)
def in_worker_1() -> None:
    note("worker 1 only:", place())


@postfork(2)
def in_worker_2() -> None:
    note("there is none")


@postfork
def last() -> None:
    note(place(), place() in seen, "last")


application = answering(lambda: note("serves"))
