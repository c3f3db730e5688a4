"""Compares the cost of uWSGI's primitives with ours in one run: `python benchmarks/primitives.py [--rounds 5]`.

Measures caches, local calls, locks, rpc over a unix socket, and signals to a mule. Needs a real uWSGI (`pip install
pyuwsgi`). Two servers of each kind are started; a request in them makes the calls, one after the other. A uWSGI server
has one process without threads, which makes its calls fastest, and a mule. Our server has the default placement, with
everything in one process. Rounds alternate, because a machine's speed changes by the minute: compare only numbers of
one table. They are microseconds unless stated otherwise: the median of the rounds (minimum to maximum).
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.interop.peers import CACHES, Node, find_program, our_command, uwsgi_command

LOCAL = ("cache_get", "cache_set", "cache_update", "cache_inc", "call", "lock and unlock")
Rounds = dict[str, list[float]]


@contextlib.contextmanager
def running(uwsgi: str) -> Iterator[dict[str, Node]]:
    """Two servers of each kind."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        nodes = {}
        for name in ("uwsgi1", "uwsgi2", "ours1", "ours2"):
            home = Path(folder, name)
            home.mkdir()
            if name.startswith("uwsgi"):
                options = ["--threads", "1", "--mule", "--sharedarea", "16", "--locks", "4", *CACHES]
                nodes[name] = Node("uwsgi", uwsgi_command(uwsgi, "measure_uwsgi.py", *options), home)
            else:
                options = ["--mules", "1", "--locks", "4", *CACHES]
                nodes[name] = Node("ours", our_command("measure_trio.py", *options), home)
            ends.callback(nodes[name].kill)
        yield nodes


def note(rounds: Rounds, values: dict[str, float]) -> None:
    """Add the values of a round."""
    for name, value in values.items():
        rounds.setdefault(name, []).append(value)


def percentiles(name: str, times: list[float]) -> dict[str, float]:
    """The median and the slowest."""
    times = sorted(times)
    return {f"{name} p50": times[len(times) // 2], f"{name} p99": times[len(times) * 99 // 100]}


def measure(nodes: dict[str, Node], rounds: dict[str, Rounds], count: int) -> None:
    """One round of everything."""
    for kind in ("uwsgi", "ours"):
        node, other = nodes[f"{kind}1"], "ours" if kind == "uwsgi" else "uwsgi"
        note(rounds[kind], node.run("measure", count))
        for over in ("unix", "tcp"):
            times = node.run("measure_rpc", nodes[f"{kind}2"].at(over), count // 5)
            note(rounds[kind], percentiles(f"rpc over {over}", times))
        times = node.run("measure_rpc", nodes[f"{other}2"].unix, count // 5)
        note(rounds[kind], percentiles("rpc over unix, to the other kind", times))
        note(rounds[kind], percentiles("signal to mule", node.run("measure_signals", min(count // 10, 500))))
        for burst in (200, 10_000):
            values = node.run("measure_burst", burst)
            note(rounds[kind], {f"burst of {burst}, {name}": value for name, value in values.items()})


def cell(values: list[float]) -> str:
    """A median and its range."""
    if not values:
        return "-"
    digits = 2 if max(values) < 10 else 1 if max(values) < 1000 else 0
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def line(name: str, theirs: list[float], ours: list[float]) -> str:
    """One row of the table, with ours in uWSGI's measure."""
    middle = statistics.median(theirs) if theirs else 0
    ratio = f"{statistics.median(ours) / middle:6.2f}" if middle and ours else ""
    return f"{name:<38}{cell(theirs):>32}{cell(ours):>32}{ratio:>8}"


def table(rounds: dict[str, Rounds]) -> str:
    """All rows."""
    theirs, ours = rounds["uwsgi"], rounds["ours"]
    rows = [f"{'':<38}{'uWSGI':>32}{'ours':>32}{'ratio':>8}"]
    for name in LOCAL:
        rows.append(line(name, theirs[name], ours[name]))
        extra = [other for other in ours if other.startswith(f"{name}, ")]
        rows += [line(other, theirs[name], ours[other]) for other in extra]
    for name in theirs:
        if name not in LOCAL:
            unit = ", per s" if name.endswith(("raised", "handled")) else ""
            rows.append(line(f"{name}{unit}", theirs[name], ours.get(name, [])))
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=5000, help="calls of each measurement; fewer of those that wait")
    options = parser.parse_args()
    uwsgi = find_program("uwsgi", "pyuwsgi")
    if uwsgi is None:
        raise SystemExit("there is no uWSGI; pip install pyuwsgi")
    rounds: dict[str, Rounds] = {"uwsgi": {}, "ours": {}}
    with running(uwsgi) as nodes:
        for _ in range(options.rounds):
            measure(nodes, rounds, options.count)
    print(table(rounds))


if __name__ == "__main__":
    main()
