"""The application of `benchmarks/compat.py`, as it was written for uWSGI: real uWSGI runs it, and ours.

A request for / calls `uwsgi.cache_get` and `uwsgi.cache_inc` once. A request for /messages measures those to the mule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import uwsgi
from uwsgidecorators import mule

WINDOW = 200  # messages that are on the way at once: less than any queue of uWSGI's holds
STEP = 50  # the mule says after so many how many it has handled
PAUSE = 0.0002  # seconds until the sender looks again


@mule(1)  # type: ignore[untyped-decorator]  # the module has no types
def handle() -> None:
    """The program of the mule: a blocking loop."""
    handled = 0
    while True:
        if uwsgi.mule_get_msg():
            handled += 1
            if handled % STEP == 0:
                uwsgi.cache_update("handled", str(handled))


def messages(count: int) -> float:
    """Messages that the mule handles in a second; `count` is a multiple of `STEP`."""

    def wait_for(total: int) -> None:
        while handled() < total:
            time.sleep(PAUSE)

    def handled() -> int:
        return int(uwsgi.cache_get("handled") or 0)

    before = handled()
    begun = time.perf_counter()
    for sent in range(count):
        if sent % STEP == 0:
            wait_for(before + sent - WINDOW)
        while not uwsgi.mule_msg(b"m" * 100, 1):
            time.sleep(PAUSE)
    wait_for(before + count)
    return count / (time.perf_counter() - begun)


def application(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/messages":
        body = b"%f" % messages(int(environ["QUERY_STRING"]))
    else:
        uwsgi.cache_get("visits")
        uwsgi.cache_inc("visits")
        body = b"Hello"
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]
