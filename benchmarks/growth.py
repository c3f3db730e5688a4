"""Measures how cost grows: `python -m benchmarks growth` runs ours with more and more of one thing at a time.

Connections, headers, bytes of a body in either direction, timers, items of a cache, jobs that wait in a spool
directory, and workers. Each size is measured in a server of its own, which ends before the next one starts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks import idle
from benchmarks.measured import Quantity, Record, Scenario
from benchmarks.primitives import Node
from benchmarks.running import CPU, RATE, TROUBLE, Failure, memory, placed, started, under_load, wait_for_answer

HTTP, COMMANDS, SPOOL = "http_app:asgi_app", "primitives_asgi.py", "spool_asgi.py"
MIB = 1 << 20
UNDER_LOAD = (Quantity(CPU, compared=True), Quantity(RATE, more=True))


class Subject(NamedTuple):
    """What grows: its sizes, what is measured at each, and how."""

    sizes: Sequence[int]
    quantities: Sequence[Quantity]
    measure: Callable[[str, int, float], dict[str, float]]


@contextlib.contextmanager
def serving(python: str, app: str, *options: str) -> Iterator[Node]:
    """A server of ours while the block runs."""
    with placed() as place:
        command = [python, "-m", "trio_uwsgi", app, "--http", place.address, "--disable-logging", *options]
        with started(command, place) as pid:
            wait_for_answer(place, pid, b"Hello", time.monotonic())
            yield Node(place, pid, "")


def connections(python: str, size: int, seconds: float) -> dict[str, float]:
    """So many connections that always have a request on the way."""
    if idle.room(size) < size:
        raise Failure("The limit of open files of this machine is lower.")
    with serving(python, HTTP) as node:
        return under_load(node.pid, node.place.port, seconds, connections=size)


def headers(python: str, size: int, seconds: float) -> dict[str, float]:
    """So many headers in each request, of 32 bytes."""
    many = {f"X-Header-{number}": "v" * 16 for number in range(size - 1)}  # and Host
    with serving(python, HTTP) as node:
        return under_load(node.pid, node.place.port, seconds, headers=many)


def bytes_down(python: str, size: int, seconds: float) -> dict[str, float]:
    """Responses of so many bytes."""
    with serving(python, HTTP) as node:
        return under_load(node.pid, node.place.port, seconds, path=f"/bytes?{size}", connections=16)


def bytes_up(python: str, size: int, seconds: float) -> dict[str, float]:
    """Requests of so many bytes."""
    with serving(python, HTTP) as node:
        return under_load(node.pid, node.place.port, seconds, path="/post", connections=16, upload=size)


def timers(python: str, size: int, seconds: float) -> dict[str, float]:
    """So many timers that wait."""
    with serving(python, COMMANDS) as node:
        before = memory(node.pid)
        each = node.run("timers", size)
        found = {"one more, µs": each, "memory of each, bytes": (memory(node.pid) - before) / size}
        return {**found, CPU: under_load(node.pid, node.place.port, seconds)[CPU]}


def cache_items(python: str, size: int, seconds: float) -> dict[str, float]:
    """So many items of 100 bytes, in processes."""
    cache = f"name=default,items={size},blocksize=256"
    with serving(python, COMMANDS, "--processes", "1", "--mules", "1", "--cache2", cache) as node:
        found: dict[str, float] = node.run("cache_items", size, 2000)
        return found


def backlog(python: str, size: int, seconds: float) -> dict[str, float]:
    """So many jobs in the directory, whose time has not come."""
    with serving(
        python, SPOOL, "--spooler", "spool", "--spooler-no-fsync", "--cache2", "name=default,items=10"
    ) as node:
        found = {"one more, µs": node.run("backlog", max(1, size))}
        return {**found, "to the start of a job, ms": node.run("spooled", 20)}


def workers(python: str, size: int, seconds: float) -> dict[str, float]:
    """So many processes, on one core."""
    began = time.monotonic()
    with serving(python, HTTP, "--processes", str(size)) as node:
        took = time.monotonic() - began
        found = under_load(node.pid, node.place.port, seconds)
        return {"start, s": took, CPU: found[CPU], "memory, MiB": memory(node.pid) / MIB}


SUBJECTS: Mapping[str, Subject] = {
    "connections": Subject((1, 10, 100, 1000, 10_000), UNDER_LOAD, connections),
    "headers": Subject((1, 10, 50, 90), UNDER_LOAD, headers),
    "bytes of a response": Subject((100, 10_000, 100_000, 1_000_000, 10_000_000), UNDER_LOAD, bytes_down),
    "bytes of a request": Subject((100, 10_000, 100_000, 1_000_000, 10_000_000), UNDER_LOAD, bytes_up),
    "timers": Subject(
        (1, 1000, 100_000, 1_000_000),
        (Quantity("one more, µs", compared=True), Quantity("memory of each, bytes"), Quantity(CPU)),
        timers,
    ),
    "items of a cache": Subject(
        (100, 1000, 10_000, 100_000), (Quantity("get, µs", compared=True), Quantity("update, µs")), cache_items
    ),
    "jobs that wait": Subject(
        (1, 100, 1000, 10_000),
        (Quantity("to the start of a job, ms", compared=True), Quantity("one more, µs")),
        backlog,
    ),
    "workers": Subject(
        (1, 2, 4, 8), (Quantity("memory, MiB", compared=True), Quantity("start, s"), Quantity(CPU)), workers
    ),
}


def run(
    record: Record, ours: Mapping[str, str], only: Sequence[str], sizes: int | None, say: Callable[[str], None]
) -> None:
    """All rounds.

    Args:
        record: takes the numbers.
        ours: interpreters by the name of their rows.
        only: the subjects.
        sizes: how many of the sizes, from the smallest on; None for all.
        say: is told what is measured.
    """
    for number in range(record.rounds):
        for group in only:
            subject = SUBJECTS[group]
            for size in subject.sizes[:sizes]:
                new = Scenario(f"{group}: {size:,}", list(subject.quantities), group=group, size=size)
                scenario = record.scenarios.setdefault(f"{group} {size}", new)
                for name, python in ours.items():
                    if name in scenario.absent:
                        continue
                    say(f"round {number + 1} of {record.rounds}: {scenario.title}, {name}")
                    try:
                        scenario.add(name, subject.measure(python, size, record.seconds))
                    except TROUBLE as failure:
                        scenario.absent[name] = str(failure)
                        say(f"{name} is left out from here on. {failure}")
