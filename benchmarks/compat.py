"""Compares an application of `import uwsgi` here and under uWSGI: `python -m benchmarks.compat [--rounds 5]`.

The application is `apps/compat_app.py`, the same file for both. Each server has one worker process on one core, without
threads or with four, a mule, and a cache; wrk has another core, with 64 connections. A request calls `cache_get` and
`cache_inc` once. uWSGI's `--http-socket` ends each connection after a response, so wrk asks ours to do so too; ours
with keep-alive is shown beside that. The mule is in a blocking loop on `mule_get_msg`, on the same core as the worker
that sends to it. What one call takes is a row of `python -m benchmarks primitives`.

Rounds alternate, because a machine's speed changes by the minute: compare only numbers of one table.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.measured import cell, markdown, ratio
from benchmarks.running import CPU, RATE, Failure, ask, placed, started, under_load, wait_for_answer
from tests.interop.peers import find_program

APP = "compat_app.py"
OPTIONS = ["--processes", "1", "--cache2", "name=c,items=100", "--disable-logging", "--harakiri", "60"]
Values = dict[str, list[float]]


def command_of(kind: str, uwsgi: str, address: str, threads: int) -> list[str]:
    """The command line of one server."""
    options = [*OPTIONS, *(["--threads", str(threads)] if threads else [])]
    if kind == "uWSGI":
        start = [uwsgi, "--master", "--need-app", "--listen", "1024", "--die-on-term", "--wsgi-file", APP]
        return [*start, "--http-socket", address, "--add-header", "Connection: close", "--mule", *options]
    return [sys.executable, "-m", "trio_uwsgi", APP, "--http", address, "--mules", "1", "--log-level=warning", *options]


def measure(kind: str, uwsgi: str, threads: int, options: argparse.Namespace, values: Values) -> None:
    """One round of one server.

    Raises:
        Failure: it does not start, or requests fail.
    """
    name = f"{threads} threads" if threads else "no threads"
    with placed() as place, started(command_of(kind, uwsgi, place.address, threads), place) as pid:
        wait_for_answer(place, pid, b"Hello", time.monotonic())
        for load in ("close", "keep-alive") if kind == "ours" else ("close",):
            found = under_load(pid, place.port, options.seconds, headers={"Connection": load})
            for quantity in (RATE, CPU):
                values.setdefault(f"{name}, {load}, {quantity}", []).append(found[quantity])
        if threads:
            rate = float(ask(place.port, f"/messages?{options.count}", timeout=300)[1])
            values.setdefault("mule, messages/s", []).append(rate)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--count", type=int, default=10_000, help="messages to the mule, a multiple of 50")
    options = parser.parse_args()
    uwsgi = find_program("uwsgi", "pyuwsgi")
    if uwsgi is None:
        raise SystemExit("there is no uWSGI; pip install pyuwsgi")
    found: dict[str, Values] = {"uWSGI": {}, "ours": {}}
    for _ in range(options.rounds):
        for threads in (0, 4):
            for kind, values in found.items():
                try:
                    measure(kind, uwsgi, threads, options, values)
                except Failure as failure:
                    raise SystemExit(f"{kind}, {threads} threads: {failure}") from None
    theirs, ours = found["uWSGI"], found["ours"]
    rows = [
        (name, cell(theirs.get(name, [])), cell(ours[name]), ratio(ours[name], theirs.get(name, []))) for name in ours
    ]
    print(markdown(("", "uWSGI", "ours", "ours / uWSGI"), rows))


if __name__ == "__main__":
    main()
