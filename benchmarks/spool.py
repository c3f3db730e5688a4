"""Compares uWSGI's spooler with ours in one run: `python -m benchmarks.spool [--rounds 3] [--jobs 5000]`.

Needs a real uWSGI (`pip install pyuwsgi`). Each server has one spooler: a process in uWSGI, a task in ours.
Completions: a directory full of jobs that do nothing, from the start of the first job to that of the last. Submissions:
one after the other, in a request, while the spooler runs them; uWSGI does not wait for the disk (no fsync), ours is
shown with and without. Latency: from the call of `spool` to the start of the job, on an idle server. If uWSGI misses
its own wake-up, the job waits until the next scan of the directory, which is set to 5 s here.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.interop.peers import Node, find_program, our_command, uwsgi_command
from trio_uwsgi._spool.files import SpoolFolder

KINDS: dict[str, list[str]] = {"uwsgi": [], "ours": ["--spooler-no-fsync"], "ours, fsync": []}
Values = dict[str, list[float]]


def started(kind: str, uwsgi: str, home: Path, jobs: int) -> Node:
    """A server whose directory has jobs in it already."""
    folder = SpoolFolder(str(home / "jobs"))
    folder.prepare()
    for _ in range(jobs):
        folder.write([(b"name", b"value")], sync=False)
    options = ["--spooler-frequency", "5", "--spooler", folder.path, *KINDS[kind]]
    if kind == "uwsgi":
        command = uwsgi_command(uwsgi, "measure_spool_uwsgi.py", "--sharedarea", "1", *options)
    else:
        command = our_command("measure_spool_trio.py", *options)
    return Node("uwsgi" if kind == "uwsgi" else "ours", command, home)


def measure(kind: str, uwsgi: str, jobs: int, values: Values) -> None:
    """One round of one kind."""
    with tempfile.TemporaryDirectory() as home:
        node = started(kind, uwsgi, Path(home), jobs)
        try:
            while (seen := node.run("seen"))[0] < jobs:
                time.sleep(0.05)
            values.setdefault("completions, per s", []).append((jobs - 1) / (seen[2] - seen[1]) * 1e9)
            latencies = sorted(node.run("latency") for _ in range(200))
            values.setdefault("spool() to start, us, p50", []).append(latencies[100])
            values.setdefault("spool() to start, us, p99", []).append(latencies[198])
            values.setdefault("submissions, per s", []).append(1e6 / node.run("submit", jobs // 5))
        finally:
            node.kill()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=5000)
    options = parser.parse_args()
    uwsgi = find_program("uwsgi", "pyuwsgi")
    if uwsgi is None:
        raise SystemExit("there is no uWSGI; pip install pyuwsgi")
    found: dict[str, Values] = {kind: {} for kind in KINDS}
    for _ in range(options.rounds):
        for kind, values in found.items():
            measure(kind, uwsgi, options.jobs, values)
    print(f"{'':<30}" + "".join(f"{kind:>28}" for kind in found))
    for name in found["uwsgi"]:
        cells = [(statistics.median(v[name]), min(v[name]), max(v[name])) for v in found.values()]
        print(f"{name:<30}" + "".join(f"{f'{m:,.0f} ({low:,.0f} to {high:,.0f})':>28}" for m, low, high in cells))


if __name__ == "__main__":
    main()
