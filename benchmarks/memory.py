"""Measures memory: `python -m benchmarks memory` runs ours and other servers with idle connections, and with workers.

It is what all processes of a server have, with shared memory divided among them (PSS). An idle connection has had one
response. The workers run Flask's hello, or the ASGI application, and have answered some requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import idle
from benchmarks.contenders import KINDS, Contender, Launch, why_absent
from benchmarks.measured import Quantity, Record, Scenario
from benchmarks.running import MIB, TROUBLE, Failure, ask, memory, placed, started, wait_for_answer
from benchmarks.serving import FLASK, HTTP_APPS

MANY = 4  # workers
REQUESTS = 200  # before memory is looked at
SETTLE = 1.0  # seconds
ONE, SEVERAL, MORE = "MiB with one worker", f"MiB with {MANY}", "MiB of one more"
# The options for more workers; the others have one process.
WORKERS: Mapping[str, Callable[[int], list[str]]] = {
    "granian": lambda count: ["--workers", str(count)],
    "uvicorn": lambda count: ["--workers", str(count)],
    "h2corn": lambda count: ["--workers", str(count)],
    "hypercorn": lambda count: ["--workers", str(count)],
    "peregrine": lambda count: ["--workers", str(count)],
    "uWSGI": lambda count: ["--processes", str(count)],
    "gunicorn": lambda count: ["--workers", str(count)],
}


class Servers(NamedTuple):
    """Who is measured: ours by the name of their rows, and where the others are installed."""

    contenders: Sequence[Contender]
    ours: Sequence[str]
    peers: Path | None


def of_connection(contender: Contender, count: int) -> dict[str, float]:
    """KiB of each of so many idle connections."""
    with placed() as place, started(contender.command(Launch(place, HTTP_APPS[contender.kind])), place) as pid:
        wait_for_answer(place, pid, b"Hello", time.monotonic())
        with idle.connections(place.port, count, pid) as each:
            return {"KiB": each / 1024}


def of_workers(contender: Contender, more: Callable[[int], list[str]]) -> dict[str, float]:
    """MiB of a server with one worker, with several, and of each one more."""
    app = HTTP_APPS["asgi"] if contender.kind == "asgi" else FLASK
    sizes = {}
    for count in (1, MANY):
        with placed() as place, started([*contender.command(Launch(place, app)), *more(count)], place) as pid:
            wait_for_answer(place, pid, b"Hello", time.monotonic())
            for _ in range(REQUESTS * count):
                ask(place.port)
            time.sleep(SETTLE)
            sizes[count] = memory(pid) / MIB
    return {ONE: sizes[1], SEVERAL: sizes[MANY], MORE: (sizes[MANY] - sizes[1]) / (MANY - 1)}


def run(record: Record, servers: Servers, connections: int, say: Callable[[str], None]) -> None:
    """All rounds.

    Args:
        record: takes the numbers.
        servers: who is measured.
        connections: how many idle ones.
        say: is told what is measured.
    """

    def attempt(scenario: Scenario, name: str, contender: Contender, measure: Callable[[], dict[str, float]]) -> None:
        if name in scenario.absent:
            return
        say(f"{scenario.title}, {name}")
        try:
            if reason := why_absent(contender, servers.peers):
                raise Failure(reason)
            scenario.add(name, measure())
        except TROUBLE as failure:
            scenario.absent[name] = str(failure)
            say(f"{name} is left out from here on. {failure}")

    def scenario(key: str, title: str, *quantities: Quantity) -> Scenario:
        return record.scenarios.setdefault(key, Scenario(title, list(quantities)))

    for _ in range(record.rounds):
        for contender in servers.contenders:
            kind = contender.kind
            if contender.keeps and kind != "threads":
                title = f"each of {connections:,} idle connections: {KINDS[kind]}"
                each = scenario(f"connections {kind}", title, Quantity("KiB", compared=True))
                attempt(each, contender.name, contender, lambda one=contender: of_connection(one, connections))  # type: ignore[misc]
        for name, contender, more in with_workers(servers):
            quantities = (Quantity(SEVERAL, compared=True), Quantity(ONE), Quantity(MORE))
            kind = contender.kind
            title = f"workers, with {'a hello' if kind == 'asgi' else 'Flask'}: {KINDS[kind]}"
            each = scenario(f"workers {kind}", title, *quantities)
            attempt(each, name, contender, lambda one=contender, more=more: of_workers(one, more))  # type: ignore[misc]


def with_workers(servers: Servers) -> list[tuple[str, Contender, Callable[[int], list[str]]]]:
    """Who has more than one worker: the name of the row, and the option."""
    found: list[tuple[str, Contender, Callable[[int], list[str]]]] = []
    for contender in servers.contenders:
        if contender.name in servers.ours:
            found.append((f"{contender.name} in processes", contender, lambda count: ["--processes", str(count)]))
            if contender.kind != "inline":
                found.append((f"{contender.name} in tasks", contender, lambda count: ["--workers", str(count)]))
        elif option := WORKERS.get(contender.name.split()[0].strip(",")):
            found.append((contender.name, contender, option))
    return found
