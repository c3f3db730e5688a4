"""@cron: at the next minute."""

from uwsgidecorators import cron

from tests.interop.apps.noting import answering, note, place

LINES = 2


@cron(-1, -1, -1, -1, -1)
def every_minute(signum: int) -> None:
    note(place(), signum)


@cron(-1, -1, -1, -1, -1, target="mule1", signum=77)
def in_mule(signum: int) -> None:
    note(place(), signum)


application = answering(lambda: None)
