"""Compares the cost of a hop to a thread and back: `ThreadPool` and `trio.to_thread.run_sync`, in one run.

    python benchmarks/threads.py [jobs]

"one" is one job after another, the latency of a hop. "64" is 64 jobs in flight on 4 threads, the load of a WSGI
application. The user function is `int`, so that only the hop is measured. Numbers are microseconds per job, the best of
5 rounds that alternate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi._units.unit import Unit

if TYPE_CHECKING:
    import outcome

THREADS = 4
IN_FLIGHT = 64
ROUNDS = 5


async def submit_all(pool: ThreadPool, unit: Unit, jobs: int) -> None:
    """`submit` with 64 jobs in flight: each `done` submits the next one, as a server's connections do."""
    left, running = jobs, 0
    over = trio.Event()

    def done(_result: outcome.Outcome[int]) -> None:
        nonlocal left, running
        if left:
            left -= 1
            pool.submit(int, unit=unit, done=done)
        else:
            running -= 1
            if not running:
                over.set()

    while running < IN_FLIGHT:
        running += 1
        left -= 1
        pool.submit(int, unit=unit, done=done)
    await over.wait()


async def by_tasks(hop: Callable[[], Awaitable[object]], jobs: int, tasks: int) -> None:
    """`jobs` hops by `tasks` tasks at once."""

    async def some() -> None:
        for _ in range(jobs // tasks):
            await hop()

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(some)


async def main(jobs: int) -> None:
    """Measure and print."""
    member = Member("worker", 1, Registry(), LoggingJournal(), time.time)
    unit = Unit(member, "benchmark", "", trio.CancelScope(), 0)
    pool = ThreadPool(THREADS, "worker1")
    limiter = trio.CapacityLimiter(THREADS)

    async def by_trio() -> object:
        return await trio.to_thread.run_sync(int, limiter=limiter)

    async def by_pool() -> object:
        return await pool.run(int, unit=unit)

    cases: dict[str, Callable[[], Awaitable[None]]] = {
        "one  to_thread.run_sync": lambda: by_tasks(by_trio, jobs // 4, 1),
        "one  ThreadPool.run": lambda: by_tasks(by_pool, jobs // 4, 1),
        "64   to_thread.run_sync": lambda: by_tasks(by_trio, jobs // 2, IN_FLIGHT),
        "64   ThreadPool.run": lambda: by_tasks(by_pool, jobs, IN_FLIGHT),
        "64   ThreadPool.submit": lambda: submit_all(pool, unit, jobs),
    }
    counts = dict(zip(cases, (jobs // 4, jobs // 4, jobs // 2, jobs, jobs), strict=True))
    best = dict.fromkeys(cases, float("inf"))
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.serve)
        for _ in range(ROUNDS):
            for name, case in cases.items():
                begun = time.perf_counter()
                await case()
                best[name] = min(best[name], (time.perf_counter() - begun) / counts[name] * 1e6)
        nursery.cancel_scope.cancel()
    for name, us in best.items():
        beside = best[f"{name[:4]} to_thread.run_sync"]
        print(f"{name:26} {us:7.1f} us   {beside / us:5.2f} times as fast as to_thread")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
