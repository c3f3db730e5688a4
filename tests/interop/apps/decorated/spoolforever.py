"""@spoolforever: the job is run again and again."""

import uwsgi
from uwsgidecorators import spoolforever

from tests.interop.apps.noting import answering, note

LINES = 2


@spoolforever
def job(variables: dict[str, str]) -> None:
    uwsgi.cache_inc("runs")
    note("run" if uwsgi.cache_num("runs") == 1 else "run again", variables["ud_spool_ret"])


def begin() -> None:
    if uwsgi.cache_set("begun", "1"):
        job({"a": "b"})


application = answering(begin)
