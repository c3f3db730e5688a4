"""@spoolraw: what the function returns decides whether the job is run again."""

import uwsgi
from uwsgidecorators import spoolraw

from tests.interop.apps.noting import answering, note

LINES = 4


@spoolraw
def once(variables: dict[str, str]) -> int:
    note("once", "ud_spool_ret" in variables)
    return int(uwsgi.SPOOL_OK)


@spoolraw(pass_arguments=True)
def twice(name: str) -> int:
    uwsgi.cache_inc(name)
    note(name, uwsgi.cache_num(name))
    return int(uwsgi.SPOOL_OK if uwsgi.cache_num(name) == 2 else uwsgi.SPOOL_RETRY)


def begin() -> None:
    if not uwsgi.cache_exists("begun"):
        uwsgi.cache_set("begun", "1")
        once({"a": "b"})
        twice("twice")
        note("queued")


application = answering(begin)
