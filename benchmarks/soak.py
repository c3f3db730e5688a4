"""A soak test of all features at once: `python -m benchmarks.soak [--minutes 10]`.

The command line serves `soak_app.py` with two workers, two mules, a spooler, caches, locks and a uwsgi socket. Clients
on loopback use all of it, a few hundred times a second. Every 20 seconds the code is changed and SIGHUP is sent. Every
5 seconds, and in every other reload, a member, or now and then the zygote, is killed.

Every three seconds the test prints the memory, descriptors, threads, children and Trio tasks of the master. At the end
it checks that none of these has grown, that results and requests add up, that each line of the log has a reason
(`soak_checks.py`), and that no process or file is left. Exit code 1 means that a check has failed.

`--load 0.2` sends fewer requests; `--reloads 5 --kills 2` set other intervals; `--keep` keeps the folder with the log
and all records.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from benchmarks.soak_checks import Outcome, Sample, check, children, take_sample
from benchmarks.soak_clients import Clients

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_INTERVAL = 3.0  # seconds
OPTIONS = [
    *("--processes", "2", "--mules", "2", "--spooler-retry", "0.1", "--locks", "1", "--harakiri", "30"),
    *("--cache2", "name=default,items=10", "--cache2", "name=small,items=50,purge_lru=1"),
    *("--http", "127.0.0.1:0", "--disable-logging"),
]


# ----- in the server's process


async def serve_and_report(app: object, config: Any) -> None:  # Any: it is only passed on
    """Run what the command line runs, and a task that records what can only be seen from inside."""
    import trio_uwsgi
    from trio_uwsgi import Runtime

    known: list[Runtime] = []
    objects: Counter[str] = Counter()

    def report(name: str) -> None:
        if not known:
            known.extend(found for found in gc.get_objects() if isinstance(found, Runtime))
        if not known:  # it starts
            return
        (runtime,) = known
        shared = runtime._tree.environment.shared
        assert shared is not None
        facts = {
            "tasks": tasks_below(trio.lowlevel.current_root_task()),
            "objects": objects,
            "statistics": dataclasses.asdict(runtime.statistics()),
            "pids": {member: int(shared.scoreboard.rows[row].get("pid")) for member, row in shared.rows.items()},
        }
        Path("new_report").write_text(json.dumps(facts))
        os.replace("new_report", name)

    async def report_periodically() -> None:
        for number in itertools.count():
            await trio.sleep(0.5)
            if number % 60 == 0:  # rarely, because servers collect reference cycles rarely too
                gc.collect()
                objects.clear()
                objects.update(type(found).__qualname__ for found in gc.get_objects())
            report("report")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report_periodically)
        await trio_uwsgi.serve(app, config)
        nursery.cancel_scope.cancel()
        report("last_report")


def tasks_below(task: Any) -> int:  # Any: Trio's Task, or None
    """The number of tasks in the tree below this one, with itself."""
    return 0 if task is None else 1 + sum(tasks_below(c) for n in task.child_nurseries for c in n.child_tasks)


# ----- in the test's process


class Soak:
    """One run."""

    def __init__(self, folder: Path, server: subprocess.Popen[bytes], options: argparse.Namespace) -> None:
        self.options = options
        self.folder = folder
        self.server = server
        self.outcome = Outcome()
        self.clients = Clients(folder, self.port(), options.load)
        self._ends = time.monotonic() + options.minutes * 60
        self._version = 1

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def port(self) -> int:
        """The port that the server listens on; waits until it serves."""
        while "in processes of process" not in self.log():
            if self.server.poll() is not None:
                raise SystemExit(self.log())
            time.sleep(0.05)
        found = re.search(r"http on 127.0.0.1:(\d+)", self.log())
        assert found is not None
        return int(found[1])

    def report(self) -> dict[str, Any]:  # Any: it is JSON
        """The last report of the server."""
        found: dict[str, Any] = json.loads((self.folder / "report").read_text())
        return found

    async def run(self) -> None:
        """Run the clients until the time is over, wait until no work is left, and stop the server."""
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_often)
            async with trio.open_nursery() as busy:
                busy.start_soon(self.clients.run, self._ends)
                busy.start_soon(self._reload_often)
                busy.start_soon(self._kill_often)
            await self._rest()
            nursery.cancel_scope.cancel()
        for _ in range(40):
            version, total = await self.clients.ask_one("/total")
            self.outcome.last_versions.add(version)
            self.outcome.total = int(total)
        self.end()

    async def _look_often(self) -> None:
        began = time.monotonic()
        while True:
            with contextlib.suppress(FileNotFoundError):  # the process has ended meanwhile
                self.outcome.samples.append(take_sample(time.monotonic() - began, self.server.pid, self.report()))
                if len(self.outcome.samples) % 20 == 1:
                    print(f"{Sample.HEAD}" if len(self.outcome.samples) == 1 else "", end="")
                    print(self.outcome.samples[-1], flush=True)
            await trio.sleep(SAMPLE_INTERVAL)

    async def _reload_often(self) -> None:
        every = self.options.reloads
        while time.monotonic() + every < self._ends:
            await trio.sleep(every * random.uniform(0.9, 1.1))
            self._version += 1
            write_version(self.folder, self._version)
            self.server.send_signal(signal.SIGHUP)
            self.outcome.reloads += 1
            if self._version % 2:
                await trio.sleep(random.uniform(0.3, 1.2))
                self._kill_one()

    async def _kill_often(self) -> None:
        every = self.options.kills
        while time.monotonic() + every < self._ends:
            await trio.sleep(every * random.uniform(0.6, 1.4))
            self._kill_one()

    def _kill_one(self) -> None:
        members = {pid: name for name, pid in self.report()["pids"].items() if pid}
        zygotes = [pid for pid in children(self.server.pid) if pid not in members]
        name, pid = random.choice([(name, pid) for pid, name in members.items()])
        if len(zygotes) == 1 and random.random() < 0.1:
            name, pid = "zygote", zygotes[0]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.outcome.kills.append((time.monotonic(), name.strip("'0123456789")))

    async def _rest(self) -> None:
        """Wait until all work has been done."""
        with trio.move_on_after(90):
            while True:
                await trio.sleep(1.5)  # longer than the interval of reports
                statistics = self.report()["statistics"]
                members, (spool,) = statistics["members"], statistics["spools"]
                idle = all(m["state"] == "ready" and not m["waiting"] + m["running"] for m in members)
                if idle and not spool["waiting"] + spool["delayed"] + spool["running"]:
                    return
        self.outcome.problems.append(f"work was left after 90 s: {self.report()['statistics']}")

    def end(self) -> None:
        """Stop the server, and list what is left."""
        outcome, folder = self.outcome, self.folder
        pids = [self.server.pid, *descendants(self.server.pid)]
        memory = list(Path("/dev/shm").glob(f"trio_uwsgi-{self.server.pid}-*"))
        self.server.terminate()
        outcome.exit_code = self.server.wait(60)
        outcome.report = json.loads((folder / "last_report").read_text())
        outcome.left += [f"process {pid}" for pid in pids if Path(f"/proc/{pid}").exists()]
        outcome.left += [str(path) for path in [*memory, folder / "rpc.sock"] if path.exists()]
        files = [path for path in (folder / "spool").rglob("*") if path.is_file()]
        # A process that is killed while it writes a job leaves a partial file, which the next start removes.
        outcome.parts = sum(path.name.startswith(".new_") for path in files)
        outcome.left += [str(path) for path in files if not path.name.startswith(".new_")]


def write_version(folder: Path, version: int) -> None:
    """Write the application's code with another version."""
    source = (ROOT / "benchmarks/soak_app.py").read_text()
    (folder / "soak_app.py").write_text(source.replace("VERSION = 1\n", f"VERSION = {version}\n"))


def descendants(pid: int) -> list[int]:
    return [below for child in children(pid) for below in [child, *descendants(child)]]


def main() -> int:
    """Run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--load", type=float, default=1.0, help="1 is about 300 requests a second")
    parser.add_argument("--reloads", type=float, default=20.0, help="seconds between two")
    parser.add_argument("--kills", type=float, default=5.0, help="seconds between two")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    write_version(folder, 1)
    (folder / "number").write_text("0")
    command = [sys.executable, "-m", "benchmarks.soak", "--serve", "soak_app:app", *OPTIONS]
    command += ["--spooler", str(folder / "spool"), "--socket", str(folder / "rpc.sock")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    print(f"in {folder}; load of the machine: {os.getloadavg()}", flush=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        soak = Soak(folder, server, options)
        trio.run(soak.run)
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(5)  # if it has ended by itself, the log says why
        if server.poll() != 0:
            print((folder / "log").read_text()[-5000:])
        server.kill()
        server.wait()
    problems = check(soak.outcome, soak.clients, folder)
    print(f"load of the machine: {os.getloadavg()}")
    print("\n".join(f"WRONG: {problem}" for problem in problems) or "all checks passed")
    if not options.keep:
        shutil.rmtree(folder)
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        from trio_uwsgi.__main__ import main as command_line

        sys.exit(command_line(sys.argv[2:], serve_and_report))
    sys.exit(main())
