"""Exact totals while members are killed: `python -m benchmarks.totals increments|locks|signals [--times N]`.

increments   four mules make 100,000 increments each of one number in a cache
locks        four mules read, change and write a file under one user lock, 10,000 times each
signals      a mule raises 10,000 signals for `workers`, `worker2`, `mules` and `spooler`

Meanwhile a member is killed (-9) every 0.4 seconds, and followed by another one, which goes on. What was acknowledged
is written down right after it was (eight bytes with one write), so the total is right if it is what was acknowledged,
and at most one more for each kill, which may have come between the two; and if no number was given twice.

For signals it is the runtime's own statistics that have to add up: what was raised, for so many members each, was begun
by them, or is counted as lost (with a member that ran it) or as not delivered. Handlers write down what they do, too.
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
YOUTH = 1.2  # seconds; who dies earlier is followed after a pause, which grows


def numbers(folder: Path, pattern: str) -> list[int]:
    """What members wrote into these files."""
    return [number for path in folder.glob(pattern) for (number,) in NUMBER.iter_unpack(path.read_bytes())]


@dataclasses.dataclass
class Run:
    """One run: what is done, how often, and what came of it."""

    what: str
    times: int
    folder: Path
    runtime: Runtime = dataclasses.field(init=False)
    since: dict[int, float] = dataclasses.field(default_factory=dict)  # when processes were seen for the first time
    kills: int = 0
    holders: int = 0  # of them, those who held the lock
    seconds: float = 0.0
    total: int = 0

    async def measure(self, every: float, youth: float = YOUTH, most: float = math.inf) -> None:
        """Serve, and kill whoever is no longer young, and no more than `most`, until all is done."""
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
                    self.kill_one(youth)
            self.seconds = time.monotonic() - began
            while self.busy():  # noqa: ASYNC110  # other processes end it
                await trio.sleep(0.1)
            self.total = self.runtime._tree.member_factory.services.caches.get("default").num("n")
            self.runtime.stop()

    def busy(self) -> bool:
        """Is there anything left to do, or anybody on the way?"""
        return any(m.waiting + m.running or m.state != "ready" for m in self.runtime.statistics().members)

    def written(self) -> int:
        """How many there are."""
        return sum(path.stat().st_size for path in self.folder.glob("acknowledged*")) // NUMBER.size

    def kill_one(self, youth: float) -> None:
        """The oldest; where there is a lock, mostly the one that holds it."""
        shared = self.runtime._tree.environment.shared
        assert shared is not None
        now = time.monotonic()
        self.since = {pid: self.since.get(pid, now) for row in shared.scoreboard.rows if (pid := int(row.get("pid")))}
        pids = [pid for pid, since in self.since.items() if now - since >= youth]
        (holder,) = numbers(self.folder, "holder")
        pid = holder if holder in pids and random.random() < 0.7 else min(pids, key=self.since.__getitem__, default=0)
        if pid:
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
            self.holders += numbers(self.folder, "holder") == [pid]

    def report(self) -> bool:
        """Print what was found; is it right?"""
        acknowledged = numbers(self.folder, "acknowledged*")
        print(f"{len(acknowledged)} acknowledged in {self.seconds:.1f} s, {self.kills} kills")
        if self.what == "signals":
            return self.report_signals(acknowledged)
        if self.what == "locks":
            self.total = int((self.folder / "number").read_text())
            print(f"{self.holders} of the kills hit whoever held the lock")
        twice = len(acknowledged) - len(set(acknowledged))
        print(f"total {self.total}: {self.total - len(acknowledged)} more; {twice} numbers given twice")
        return twice == 0 and len(acknowledged) <= self.total <= len(acknowledged) + self.kills

    def report_signals(self, acknowledged: list[int]) -> bool:
        """What was raised, and what the runtime and the handlers say of it."""
        told = self.runtime.statistics().signals
        begun, ended = (Counter(numbers(self.folder, name)) for name in ("begun", "ended"))
        given = sum(TARGETS[signum][1] for signum in acknowledged)
        print(f"{told}; for {given} members; handlers that began {begun.total()}, that ended {ended.total()}")
        for signum, (target, parts) in TARGETS.items():
            count = acknowledged.count(signum) * parts
            print(f"  {target}: for {count} members, began {begun[signum]}, ended {ended[signum]}")
        more = told.raised - len(acknowledged)  # what was raised and not written down when a kill came
        return (
            0 <= more <= self.kills
            and not told.refused + told.unregistered
            and given <= told.delivered + told.undelivered <= given + 2 * more
            and told.delivered - told.lost <= ended.total() <= begun.total() <= told.delivered
        )


def main() -> int:
    """Run, print, and say with the exit code whether it is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["increments", "locks", "signals"])
    parser.add_argument("--times", type=int, help="for each mule")
    parser.add_argument("--every", type=float, default=0.4, help="seconds between two kills")
    options = parser.parse_args()
    times = options.times or (100_000 if options.what == "increments" else 10_000)
    print(f"load of the machine: {os.getloadavg()}")
    logging.getLogger("trio_uwsgi").setLevel(logging.CRITICAL)  # deaths are what it is about
    with tempfile.TemporaryDirectory() as name:
        run = Run(options.what, times, Path(name))
        trio.run(run.measure, options.every)
        right = run.report()
    print("right" if right else "WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
