"""What a real uWSGI runs for `benchmarks/spool.py`. Its spooler is a process, so they share an area of 64-bit slots."""

from __future__ import annotations

import time

import uwsgi

from tests.interop.apps.uwsgi_node import OWN
from tests.interop.apps.uwsgi_node import application as application

# Byte offsets in the shared area.
COUNT, FIRST, LAST = 0, 8, 16


def run(env: object) -> int:
    """A job that does nothing but say when it began."""
    now = time.perf_counter_ns()
    count = uwsgi.sharedarea_read64(0, COUNT)
    if not count:
        uwsgi.sharedarea_write64(0, FIRST, now)
    uwsgi.sharedarea_write64(0, LAST, now)
    uwsgi.sharedarea_write64(0, COUNT, count + 1)
    return int(uwsgi.SPOOL_OK)


def seen() -> tuple[int, int, int]:
    """How many jobs have run, and when the first and the last one began."""
    count, first, last = (uwsgi.sharedarea_read64(0, offset) for offset in (COUNT, FIRST, LAST))
    return count, first, last


def submit(count: int) -> float:
    """Queue so many jobs as fast as possible; microseconds of each."""
    begun = time.perf_counter_ns()
    for _ in range(count):
        uwsgi.spool({b"name": b"value"})
    return (time.perf_counter_ns() - begun) / count / 1e3


def latency() -> float:
    """Queue one, and wait until it runs; microseconds from the call to the job."""
    uwsgi.sharedarea_write64(0, COUNT, 0)
    begun = time.perf_counter_ns()
    uwsgi.spool({b"name": b"value"})
    while not uwsgi.sharedarea_read64(0, COUNT):
        time.sleep(0.0005)
    return (int(uwsgi.sharedarea_read64(0, FIRST)) - begun) / 1e3


OWN.update(seen=seen, submit=submit, latency=latency)
uwsgi.spooler = run
