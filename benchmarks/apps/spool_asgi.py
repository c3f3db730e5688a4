"""What `growth.py` asks of ours about spooled jobs: the application of `primitives_asgi.py`, with more commands."""

from __future__ import annotations

import time

import trio
from primitives_asgi import COMMANDS, HOUR
from primitives_asgi import app as app

from trio_uwsgi import uwsgi


async def backlog(count: int) -> float:
    """Queue so many jobs that are not to run yet; microseconds of each."""
    begun = time.perf_counter()
    for _ in range(count):
        await uwsgi.spool({b"name": b"value"}, at=time.time() + HOUR)
    return (time.perf_counter() - begun) / max(1, count) * 1e6


async def spooled(count: int) -> float:
    """Queue jobs one after the other, and wait until each has begun; milliseconds of the median."""
    times = []
    for _ in range(count):
        written = time.perf_counter_ns()
        await uwsgi.cache_del("began")
        await uwsgi.spool({b"name": b"value"})
        with trio.fail_after(60):
            while (began := await uwsgi.cache_get("began")) is None:  # noqa: ASYNC110  # another process says so
                await trio.sleep(0.0005)
        times.append((int(began) - written) / 1e6)
    return sorted(times)[len(times) // 2]


@uwsgi.spooler
async def run(job: uwsgi.Job) -> None:
    """A job that only says when it began."""
    await uwsgi.cache_update("began", b"%d" % time.perf_counter_ns())


COMMANDS.update(backlog=backlog, spooled=spooled)
