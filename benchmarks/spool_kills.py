"""Durable jobs under kill -9: `python -m benchmarks.spool_kills [--jobs 10000] [--every 0.3]`.

A runtime queues jobs and runs them. It is killed and started again, over and over, until all jobs are queued and the
spooler's directory is empty. The script prints what became of the jobs: each job that was accepted (its `spool` had
returned, and that was recorded) has run at least once; none was run with incomplete data; and a number of jobs ran a
second time, because the kill came after the work and before the job was removed. (A job that was on the disk but not
recorded as accepted yet is queued again after the kill, as another job. This script causes that, and counts it
separately.)

Each job has a body of up to 100 KiB and its checksum. Accepted jobs and runs are appended to two files with one write
each, so that a kill cannot cut a line.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import trio

import trio_uwsgi
from trio_uwsgi import Config, uwsgi

LARGEST = 100_000
SUBMITTERS = 8


class Outcome(NamedTuple):
    """What was found at the end."""

    accepted: int
    ran: int  # different numbers
    again: int  # runs beyond the first of each job
    twice: int  # jobs that were queued a second time
    lost: int
    half: int
    dead: int
    kills: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.accepted} jobs accepted, {self.ran} ran, {self.again} second runs ({self.twice} queued twice), "
            f"{self.lost} lost, {self.half} seen half, {self.dead} dead; {self.kills} kills in {self.seconds:.1f} s"
        )


def note(path: Path, line: str) -> None:
    """Append a line, whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def lines(path: Path) -> list[str]:
    """The numbers in a file."""
    return path.read_text().splitlines() if path.exists() else []


def serve(folder: Path, jobs: int, processes: int) -> None:
    """Run as the runtime: queue the jobs that are missing, and run all jobs."""

    @uwsgi.spool_handler
    async def check(job: uwsgi.Job) -> None:
        whole = hashlib.sha256(job.body).hexdigest() == job["checksum"]
        note(folder / "ran", f"{job['number']} {job.name} {'whole' if whole else 'half'}")

    @uwsgi.mule(1)
    async def submit() -> None:
        missing = iter(sorted(set(range(jobs)) - {int(line) for line in lines(folder / "accepted")}))
        async with trio.open_nursery() as nursery:
            for _ in range(SUBMITTERS):
                nursery.start_soon(submit_some, missing)

    async def submit_some(missing: Iterable[int]) -> None:
        for number in missing:
            body = random.Random(number).randbytes(number * 7919 % LARGEST)
            checksum = hashlib.sha256(body).hexdigest()
            await check.spool(number=str(number), checksum=checksum, body=body)
            note(folder / "accepted", str(number))

    config = Config(http=(), mules=1, spooler=str(folder / "jobs"), spooler_processes=processes, spooler_retry=0.1)
    trio.run(trio_uwsgi.serve, app, config)


async def app(scope: dict[str, object], receive: object, send: object) -> None:
    """No request is sent."""
    raise RuntimeError("this application serves nothing")


def waiting(folder: Path) -> int:
    """The number of jobs in the directory."""
    return sum(path.name.startswith("uwsgi_spoolfile_on_") for path in (folder / "jobs").glob("*"))


def kill_until_done(folder: Path, jobs: int, every: float, processes: int = 1, limit: float = 600) -> Outcome:
    """Kill and start the runtime until no job is left."""
    command = [sys.executable, __file__, "--serve", str(folder), "--jobs", str(jobs), "--processes", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    begun = time.monotonic()
    kills = 0
    while time.monotonic() - begun < limit:
        with (folder / "log").open("ab") as log:
            runtime = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            seen = len(lines(folder / "ran")) + len(lines(folder / "accepted"))
            while runtime.poll() is None and len(lines(folder / "ran")) + len(lines(folder / "accepted")) == seen:
                time.sleep(0.01)  # it starts
                if len(lines(folder / "accepted")) == jobs and not waiting(folder):
                    break
            time.sleep(every)
        finally:
            runtime.send_signal(signal.SIGKILL)
            runtime.wait()
        kills += 1
        if len(lines(folder / "accepted")) == jobs and not waiting(folder):
            break
    return outcome(folder, kills, time.monotonic() - begun)


def outcome(folder: Path, kills: int, seconds: float) -> Outcome:
    """Count."""
    accepted = {int(line) for line in lines(folder / "accepted")}
    runs = Counter(line.split()[1] for line in lines(folder / "ran"))
    ran = {int(line.split()[0]) for line in lines(folder / "ran")}
    half = sum(line.endswith(" half") for line in lines(folder / "ran"))
    dead = sum(path.name.startswith("uwsgi_spoolfile_on_") for path in (folder / "jobs" / "dead").glob("*"))
    again = sum(runs.values()) - len(runs)
    twice = len(runs) - len(ran)
    return Outcome(len(accepted), len(ran), again, twice, len(accepted - ran), half, dead, kills, seconds)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--every", type=float, default=0.3, help="seconds between the first sign of life and the kill")
    parser.add_argument("--processes", type=int, default=2, help="spoolers")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.jobs, options.processes)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(kill_until_done(Path(folder), options.jobs, options.every, options.processes))


if __name__ == "__main__":
    main()
