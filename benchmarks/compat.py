"""Compares an application of `import uwsgi` here and under uWSGI: `python benchmarks/compat.py [--rounds 5]`.

The application is `compat_app.py`, the same file for both. Each server has one worker process on core 0, without
threads or with four, a mule, and a cache; wrk has core 1, with 64 connections. A request calls `cache_get` and
`cache_inc` once. uWSGI's `--http-socket` ends each connection after a response, so wrk asks ours to do so too; ours
with keep-alive is shown beside that. What one call takes is measured inside of a request. The mule is in a blocking
loop on `mule_get_msg`, on the same core as the worker that sends to it.

Needs `wrk`, `taskset` and a real uWSGI (`pip install pyuwsgi`). Rounds alternate, because a machine's speed changes by
the minute: compare only numbers of one table. They are the median of the rounds (minimum to maximum).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.compare import cpu_seconds, wrk
from tests.interop.peers import Program, find_program, free_port

APP = Path(__file__).resolve().with_name("compat_app.py")
Values = dict[str, list[float]]


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a server on core 0. Gives its process."""
    with tempfile.TemporaryDirectory() as folder:
        server = Program(["taskset", "-c", "0", *command], Path(folder), [f"127.0.0.1:{port}"])
        try:
            yield server.process.pid
        finally:
            server.kill()


def command_of(kind: str, uwsgi: str, port: int, threads: int) -> list[str]:
    """The command line of one server."""
    options = ["--processes", "1", "--cache2", "name=c,items=100", "--disable-logging", "--harakiri", "60"]
    options += ["--threads", str(threads)] if threads else []
    at = f"127.0.0.1:{port}"
    if kind == "uWSGI":
        start = [uwsgi, "--master", "--need-app", "--listen", "1024", "--die-on-term", "--wsgi-file", str(APP)]
        return [*start, "--http-socket", at, "--mule", *options]
    return [sys.executable, "-m", "trio_uwsgi", str(APP), "--http", at, "--mules", "1", "--log-level=warning", *options]


def measured(port: int, path: str, count: int) -> float:
    """What a request measures inside."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"/{path}?{count}")
        return float(connection.getresponse().read())


def measure(kind: str, uwsgi: str, threads: int, options: argparse.Namespace, values: Values) -> None:
    """One round of one server."""
    port = free_port()
    name = f"{threads} threads" if threads else "no threads"
    with running(command_of(kind, uwsgi, port, threads), port) as pid:
        wrk(port, 1, "close")
        for load in ("close", "keep-alive") if kind == "ours" else ("close",):
            before = cpu_seconds(pid)
            result = wrk(port, options.seconds, load)
            if result["failed"]:
                raise SystemExit(f"{kind}, {name}, {load}: {result['failed']:.0f} requests failed")
            cost = (cpu_seconds(pid) - before) * 1e6 / result["requests"]
            values.setdefault(f"{name}, {load}, requests/s", []).append(result["rate"])
            values.setdefault(f"{name}, {load}, us of processor", []).append(cost)
        for call in ("cache_get", "cache_inc"):
            values.setdefault(f"{name}, one {call}, us", []).append(measured(port, call, options.count))
        if threads:
            values.setdefault("mule, messages/s", []).append(measured(port, "messages", options.count))


def cell(values: list[float]) -> str:
    """A median and its range."""
    if not values:
        return "-"
    digits = 2 if max(values) < 10 else 1 if max(values) < 1000 else 0
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(theirs: Values, ours: Values) -> str:
    """All rows, with ours in uWSGI's measure."""
    rows = [f"{'':<40}{'uWSGI':>28}{'ours':>28}{'ratio':>8}"]
    for name, values in ours.items():
        peer = theirs.get(name, [])
        ratio = f"{statistics.median(values) / statistics.median(peer):.2f}" if peer else ""
        rows.append(f"{name:<40}{cell(peer):>28}{cell(values):>28}{ratio:>8}")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--count", type=int, default=10_000, help="calls and messages, a multiple of 50")
    options = parser.parse_args()
    uwsgi = find_program("uwsgi", "pyuwsgi")
    if uwsgi is None:
        raise SystemExit("there is no uWSGI; pip install pyuwsgi")
    found: dict[str, Values] = {"uWSGI": {}, "ours": {}}
    for _ in range(options.rounds):
        for threads in (0, 4):
            for kind, values in found.items():
                measure(kind, uwsgi, threads, options, values)
    print(table(found["uWSGI"], found["ours"]))


if __name__ == "__main__":
    main()
