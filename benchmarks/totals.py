"""Exact totals while members are killed: `python -m benchmarks.totals increments|locks|signals [--times N]`.

increments   four mules make 100,000 increments each of one number in a cache
locks        four mules read, change and write a file under one user lock, 10,000 times each
signals      a mule raises 10,000 signals for `workers`, `worker2`, `mules` and `spooler`

Meanwhile a member is killed (-9) every 0.4 seconds and replaced, and its replacement continues. Each acknowledged
operation is recorded at once (eight bytes with one write). The total is right if it is the number of acknowledged
operations, plus at most one for each kill, which may have come before the record; and if no number was given twice.

For signals, the runtime's own statistics have to add up: each signal that was raised was begun by each member of its
target, or is counted as lost (with a member that ran it) or as not delivered. Handlers record what they do as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import trio

import trio_uwsgi
from benchmarks.totals_app import MULES, NUMBER, TARGETS
from trio_uwsgi import Cache, Config, Runtime
from trio_uwsgi._process.app_name import AppReference

APP = AppReference("name", f"{Path(__file__).with_name('totals_app.py')}:app")
MIN_AGE = 1.2  # seconds; a member that dies earlier is replaced after a growing pause


def numbers(folder: Path, pattern: str) -> list[int]:
    """The numbers that members have recorded in these files."""
    return [number for path in folder.glob(pattern) for (number,) in NUMBER.iter_unpack(path.read_bytes())]


@dataclasses.dataclass
class Run:
    """One run: the operation, the number of repetitions, and the results."""

    what: str
    times: int
    folder: Path
    runtime: Runtime = dataclasses.field(init=False)
    since: dict[int, float] = dataclasses.field(default_factory=dict)  # when each process was first seen
    kills: int = 0
    holders: int = 0  # kills that hit the holder of the lock
    seconds: float = 0.0
    total: int = 0

    async def measure(self, every: float, min_age: float = MIN_AGE, most: float = math.inf) -> None:
        """Serve until all is done, and kill members that are older than `min_age`, at most `most` times."""
        (self.folder / "number").write_text("0")
        (self.folder / "holder").write_bytes(NUMBER.pack(0))
        named = {"FOLDER": self.folder, "WHAT": self.what, "TIMES": self.times}
        os.environ.update({f"TOTALS_{name}": str(value) for name, value in named.items()})
        config = Config(
            http=(),
            placement="process",
            lifespan="off",
            workers=2 if self.what == "signals" else 1,
            mules=2 if self.what == "signals" else MULES[self.what],
            spooler=str(self.folder / "spool") if self.what == "signals" else (),
            locks=1,
            caches=[Cache("default", items=10)],
        )
        async with trio.open_nursery() as nursery:
            self.runtime = await nursery.start(trio_uwsgi.serve, APP, config)
            began = time.monotonic()
            while self.written() < self.times * MULES[self.what]:
                await trio.sleep(every)
                if self.kills < most:
                    self.kill_one(min_age)
            self.seconds = time.monotonic() - began
            while self.busy():  # noqa: ASYNC110  # other processes end it
                await trio.sleep(0.1)
            self.total = self.runtime._tree.member_factory.services.caches.get("default").num("n")
            self.runtime.stop()

    def busy(self) -> bool:
        """Is work left to do, or a member not ready?"""
        return any(m.waiting + m.running or m.state != "ready" for m in self.runtime.statistics().members)

    def written(self) -> int:
        """The number of acknowledged operations."""
        return sum(path.stat().st_size for path in self.folder.glob("acknowledged*")) // NUMBER.size

    def kill_one(self, min_age: float) -> None:
        """Kill the oldest member; if there is a lock, mostly its holder."""
        shared = self.runtime._tree.environment.shared
        assert shared is not None
        now = time.monotonic()
        self.since = {pid: self.since.get(pid, now) for row in shared.scoreboard.rows if (pid := int(row.get("pid")))}
        pids = [pid for pid, since in self.since.items() if now - since >= min_age]
        (holder,) = numbers(self.folder, "holder")
        pid = holder if holder in pids and random.random() < 0.7 else min(pids, key=self.since.__getitem__, default=0)
        if pid:
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
            self.holders += numbers(self.folder, "holder") == [pid]

    def report(self) -> bool:
        """Print the results; are they right?"""
        acknowledged = numbers(self.folder, "acknowledged*")
        print(f"{len(acknowledged)} acknowledged in {self.seconds:.1f} s, {self.kills} kills")
        if self.what == "signals":
            return self.report_signals(acknowledged)
        if self.what == "locks":
            self.total = int((self.folder / "number").read_text())
            print(f"{self.holders} of the kills hit the holder of the lock")
        twice = len(acknowledged) - len(set(acknowledged))
        print(f"total {self.total}: {self.total - len(acknowledged)} more; {twice} numbers given twice")
        return twice == 0 and len(acknowledged) <= self.total <= len(acknowledged) + self.kills

    def report_signals(self, acknowledged: list[int]) -> bool:
        """Compare what was raised with the runtime's statistics and the handlers' records."""
        counts = self.runtime.statistics().signals
        begun, ended = (Counter(numbers(self.folder, name)) for name in ("begun", "ended"))
        given = sum(TARGETS[signum][1] for signum in acknowledged)
        print(f"{counts}; for {given} members; handlers that began {begun.total()}, that ended {ended.total()}")
        for signum, (target, parts) in TARGETS.items():
            count = acknowledged.count(signum) * parts
            print(f"  {target}: for {count} members, began {begun[signum]}, ended {ended[signum]}")
        more = counts.raised - len(acknowledged)  # raised, and not recorded because of a kill
        return (
            0 <= more <= self.kills
            and not counts.refused + counts.unregistered
            and given <= counts.delivered + counts.undelivered <= given + 2 * more
            and counts.delivered - counts.lost <= ended.total() <= begun.total() <= counts.delivered
        )


def main() -> int:
    """Run and print; the exit code is 0 if the results are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["increments", "locks", "signals"])
    parser.add_argument("--times", type=int, help="for each mule")
    parser.add_argument("--every", type=float, default=0.4, help="seconds between two kills")
    options = parser.parse_args()
    times = options.times or (100_000 if options.what == "increments" else 10_000)
    print(f"load of the machine: {os.getloadavg()}")
    logging.getLogger("trio_uwsgi").setLevel(logging.CRITICAL)  # deaths are expected here
    with tempfile.TemporaryDirectory() as name:
        run = Run(options.what, times, Path(name))
        trio.run(run.measure, options.every)
        right = run.report()
    print("right" if right else "WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
