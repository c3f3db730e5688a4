"""A service without HTTP: timers, crons and jobs, which take samples of this machine and write reports of them.

Shows      a server that opens no socket; a timer and crons in a mule, so that only one member writes the files; jobs
           that are retried; a handler that also runs at the start; a status that one can look at while it runs.
Try it     trio-uwsgi examples/cron_service/service.py
           cat var/status.json                              what the service did last
           kill -USR1 $(cat var/service.pid)                counters of all members, in the log
           ls var/samples var/reports                       a report for each full hour
           kill $(cat var/service.pid)
           trio-uwsgi examples/cron_service/service.py --placement process       the same, each member a process
Leaves out several machines. All files are in ./var of the working directory.
"""

import collections
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

KEPT = timedelta(days=14)
VAR = Path("var")
SAMPLES, REPORTS, STATUS = VAR / "samples", VAR / "reports", VAR / "status.json"
for folder in (SAMPLES, REPORTS):
    folder.mkdir(parents=True, exist_ok=True)

config = trio_uwsgi.Config(
    http=(),
    mules=1,
    spooler=str(VAR / "spool"),
    spooler_harakiri=60,
    mule_harakiri=60,
    timezone="UTC",
    pidfile=str(VAR / "service.pid"),
)
counts: collections.Counter[str] = collections.Counter()  # in the mule, since its start


def now() -> datetime:
    """The time of day; tests replace this function."""
    return datetime.now(UTC)


def write(path: Path, text: str) -> None:
    """Replace a file at once, so that no reader sees half of it."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def note(what: str) -> None:
    """Count what was done, and show it in the status file."""
    counts[what] += 1
    write(STATUS, json.dumps({"pid": os.getpid(), "last": what, "at": now().isoformat(), **counts}, indent=1) + "\n")


@uwsgi.timer(10, target="mule1")
def take_sample(signum: int) -> None:
    """Append one line to the file of this hour. A `def` handler runs in a thread, so it may wait for the disk."""
    free = shutil.disk_usage(".").free // 1024**2
    with (SAMPLES / f"{now():%Y-%m-%dT%H}.csv").open("a") as file:
        file.write(f"{now():%H:%M:%S},{os.getloadavg()[0]:.2f},{free}\n")
    note("samples")


@uwsgi.post_fork
async def begin() -> None:
    """Runs in each member at its start. The first tick of a timer comes after its interval; this is one before it."""
    if uwsgi.mule_id() == 1:
        uwsgi.signal(take_sample.signum)


@uwsgi.cron("0 * * * *", target="mule1")
async def each_hour(signum: int) -> None:
    """Queue one job for each hour that is over: also for those that ended while the service was stopped."""
    for path in sorted(SAMPLES.glob("*.csv")):
        if path.stem < f"{now():%Y-%m-%dT%H}":
            await write_report.spool(path.stem)
    note("hours")


@uwsgi.spool_handler(pass_arguments=True)
def write_report(hour: str) -> None:
    """Runs in the spooler. A job may run again after a crash; if its samples are gone, its report has been written."""
    samples = SAMPLES / f"{hour}.csv"
    if samples.exists():
        loads = [float(line.split(",")[1]) for line in samples.read_text().splitlines()]
        mean = sum(loads) / len(loads)
        write(
            REPORTS / f"{hour}.txt", f"{hour}: {len(loads)} samples, load {mean:.2f} on average, {max(loads)} at most\n"
        )
        samples.unlink()


@uwsgi.cron("30 3 * * *", target="mule1")
def rotate(signum: int) -> None:
    """Every night at half past three: delete old reports."""
    for path in REPORTS.glob("*.txt"):
        if path.stem < f"{now() - KEPT:%Y-%m-%dT%H}":
            path.unlink()
    note("rotations")


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Every server has an application; without a socket, nothing calls it."""
    raise NotImplementedError(scope["type"])


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
