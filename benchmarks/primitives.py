"""Measures uWSGI's primitives: `python -m benchmarks primitives` runs ours beside a real uWSGI.

A uWSGI has one worker process without threads, which makes its calls fastest, and a mule. Ours has three rows for each
build: the script of uWSGI, with `import uwsgi`, in processes; calls that are awaited, in processes, so that caches and
locks are shared by them as in uWSGI; and the same in tasks. Two servers of each are started for remote calls.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple  # Any: what a command gives

from benchmarks.measured import Quantity, Record, Scenario
from benchmarks.running import PATIENCE, TROUBLE, Failure, Place, ask, placed, started, wait_for_answer, wrk
from tests.interop.peers import find_program, free_port

MICROSECONDS = Quantity("µs", compared=True)
MILLISECONDS = Quantity("ms", compared=True)
UWSGI = "uWSGI"
BURST, AT_ONCE = 10_000, 64
HARAKIRI = 1  # seconds
STUCK = 10  # requests that harakiri has to end
TICKS = 8  # seconds of a timer
NO_PROGRESS = 2.0  # seconds, after which the rest of a burst is lost


class Node(NamedTuple):
    """A server: its processes, and where it listens for the uwsgi protocol."""

    place: Place
    pid: int
    tcp: str

    def run(self, name: str, *arguments: object) -> Any:
        """Have it run a command of its script.

        Raises:
            Failure: there is no right answer.
        """
        try:
            status, body = ask(self.place.port, "/", repr((name, arguments)).encode(), timeout=2 * PATIENCE)
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"It does not answer {name}: {error!r}; {self.place.log()}") from None
        if status != 200:
            raise Failure(f"It answers {name} with {status}: {self.place.log()}")
        return ast.literal_eval(body.decode())


class Kind(NamedTuple):
    """A server in one mode: its command without addresses, and whether its script is that of uWSGI."""

    command: list[str]
    http: str
    is_script: bool


def kinds(ours: Mapping[str, str], uwsgi: str | None) -> dict[str, Kind]:
    """All of them by name.

    Args:
        ours: interpreters by the name of their rows.
        uwsgi: the program, if there is one.
    """
    shared = ["--cache2", "name=default,items=100", "--locks", "4", "--sharedarea", "16", "--disable-logging"]
    found = {}
    if uwsgi is not None:
        options = ["--master", "--need-app", "--die-on-term", "--enable-threads", "--processes", "1", "--mule"]
        command = [uwsgi, "--wsgi-file", "primitives_uwsgi.py", *options, *shared, "--listen", "100"]
        found[UWSGI] = Kind(command, "--http-socket", True)
    for name, python in ours.items():
        start = [python, "-m", "trio_uwsgi"]
        processes = ["--processes", "1", "--mules", "1"]
        found[f"{name} import uwsgi"] = Kind([*start, "primitives_uwsgi.py", *processes, *shared], "--http", True)
        awaited = [*start, "primitives_asgi.py", *shared]
        found[f"{name} awaited"] = Kind([*awaited, *processes], "--http", False)
        found[f"{name} awaited, in tasks"] = Kind([*awaited, "--mules", "1"], "--http", False)
    return found


@contextlib.contextmanager
def running(kind: Kind, *options: str) -> Iterator[Node]:
    """One server of a kind while the block runs."""
    with placed() as place:
        tcp = f"127.0.0.1:{free_port()}"
        listen = [kind.http, place.address, "--socket", tcp, "--socket", place.socket]
        with started([*kind.command, *listen, *options], place) as pid:
            wait_for_answer(place, pid, b"Hello", time.monotonic())
            yield Node(place, pid, tcp)


def measure(record: Record, name: str, kind: Kind, count: int) -> None:
    """One round of one kind.

    Args:
        record: takes the numbers.
        name: of the kind.
        kind: what is measured.
        count: calls of each measurement; fewer of those that wait.
    """

    def note(title: str, quantity: Quantity, value: float) -> None:
        record.scenarios.setdefault(title, Scenario(title, [quantity])).add(name, {quantity.name: value})

    with running(kind) as node, running(kind) as other:
        for title, value in node.run("local", count).items():
            note(title, MICROSECONDS, value)
        for over, address in (("a unix socket", other.place.socket), ("TCP", other.tcp)):
            times = node.run("remote", address, max(20, count // 5))
            note(f"remote call over {over}, p50", MICROSECONDS, statistics.median(times))
        if name == UWSGI or not kind.is_script:
            rate = node.run("remote_at_once", other.place.socket, max(AT_ONCE, count // 2), AT_ONCE)
            note(f"remote calls, {AT_ONCE} at once", Quantity("calls/s", more=True, compared=True), rate)
        if kind.is_script:
            latencies = node.run("signals", max(20, count // 20))
            note("signal to a mule, p50", MICROSECONDS, statistics.median(latencies))
            rate, lost = burst_of_signals(node, min(BURST, count * 2))
            note("burst of signals, handled", Quantity("signals/s", more=True, compared=True), rate)
            note("burst of signals, lost", Quantity("signals"), lost)
            late = lateness_of_timer(node, TICKS if count > 1000 else 3)
            note("a timer under load, latest tick", MILLISECONDS, late)
    with running(kind, "--harakiri", str(HARAKIRI)) as node:
        late = lateness_of_harakiri(node, STUCK if count > 1000 else 2)
        note("harakiri, latest", MILLISECONDS, late)


def burst_of_signals(node: Node, count: int) -> tuple[float, int]:
    """How many of a burst the mule handles in a second, and how many are not handled when nothing more happens."""
    begun = node.run("burst", count)
    handled, last, give_up = 0, begun, time.monotonic() + NO_PROGRESS
    while handled < count and time.monotonic() < give_up:
        time.sleep(0.05)
        now, last = node.run("handled")
        if now > handled:
            handled, give_up = now, time.monotonic() + NO_PROGRESS
    return handled / (last - begun) * 1e9, count - handled


def lateness_of_timer(node: Node, seconds: int) -> float:
    """By how many milliseconds the latest tick of a second came later than the earliest, while the worker is loaded."""
    node.run("begin_ticks")
    wrk(node.place.port, seconds, headers={"Connection": "close"})
    ticks: list[int] = node.run("ticks")
    if len(ticks) < 2:
        raise Failure(f"Its timer ticked {len(ticks)} times in {seconds} seconds.")
    phases = [at / 1e6 - 1000 * number for number, at in enumerate(ticks)]
    return max(phases) - min(phases)


def lateness_of_harakiri(node: Node, count: int) -> float:
    """By how many milliseconds the latest of some requests was ended late, one after the other."""
    latest = 0.0
    for _ in range(count):
        begun = time.perf_counter()
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(node.place.port, "/", repr(("sleep", (20,))).encode(), timeout=15)
        latest = max(latest, (time.perf_counter() - begun - HARAKIRI) * 1000)
        wait_for_answer(node.place, node.pid, b"Hello", time.monotonic())  # from the next process
    return latest


def find_uwsgi(peers: Path | None) -> tuple[str | None, str]:
    """A real uWSGI, from the peers or beside this interpreter; or why there is none."""
    if peers is not None and (peers / "bin" / "uwsgi").exists():
        return str(peers / "bin" / "uwsgi"), ""
    found = find_program("uwsgi", "pyuwsgi")
    reason = "It is not installed: pip install pyuwsgi."
    return found, "" if found else reason


def run(record: Record, ours: Mapping[str, str], peers: Path | None, count: int, say: Callable[[str], None]) -> None:
    """All rounds.

    Args:
        record: takes the numbers.
        ours: interpreters by the name of their rows.
        peers: the environment of other servers.
        count: calls of each measurement.
        say: is told what is measured.
    """
    uwsgi, reason = find_uwsgi(peers)
    if uwsgi is None:
        say(f"{UWSGI} is left out. {reason}")
    out: dict[str, str] = {} if uwsgi else {UWSGI: reason}
    for number in range(record.rounds):
        for name, kind in kinds(ours, uwsgi).items():
            if name in out:
                continue
            say(f"round {number + 1} of {record.rounds}: {name}")
            try:
                measure(record, name, kind, count)
            except TROUBLE as failure:
                out[name] = str(failure)
                say(f"{name} is left out from here on. {failure}")
    for scenario in record.scenarios.values():
        scenario.absent.update(out)
