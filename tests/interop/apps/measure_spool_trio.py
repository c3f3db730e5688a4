"""What ours runs for `benchmarks/spool.py`: the same as `measure_spool_uwsgi.py`."""

from __future__ import annotations

import time

import trio

from tests.interop.apps.trio_node import OWN
from tests.interop.apps.trio_node import app as app
from trio_uwsgi import uwsgi

began: list[int] = []
changed = trio.Event()


@uwsgi.spooler
async def run(job: uwsgi.Job) -> None:
    """A job that does nothing but say when it began."""
    began.append(time.perf_counter_ns())
    changed.set()


async def seen() -> tuple[int, int, int]:
    """How many jobs have run, and when the first and the last one began."""
    return (len(began), began[0], began[-1]) if began else (0, 0, 0)


async def submit(count: int) -> float:
    """Queue so many jobs as fast as possible; microseconds of each."""
    begun = time.perf_counter_ns()
    for _ in range(count):
        await uwsgi.spool({b"name": b"value"})
    return (time.perf_counter_ns() - begun) / count / 1e3


async def latency() -> float:
    """Queue one, and wait until it runs; microseconds from the call to the job."""
    global changed
    changed = trio.Event()
    begun = time.perf_counter_ns()
    await uwsgi.spool({b"name": b"value"})
    await changed.wait()
    return (began[-1] - begun) / 1e3


OWN.update(seen=seen, submit=submit, latency=latency)
