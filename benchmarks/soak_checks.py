"""The results of `soak.py`, and the checks of them."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.soak_clients import CLIENTS, Clients

# The lines of the log that are expected, and their reasons. Any other line is a bug, in this file or in the server.
MEMBER = r"(worker|mule|spooler)\d"
KILLED = r"killed by SIGKILL"
EXPECTED = {
    r"trio_uwsgi \S+ \((compiled|pure Python), trio .*\) serves the application": "the start",
    r"(http|uwsgi) on ": "the start",
    r"2 workers, 2 mules and 1 spooler, in processes of process": "the start",
    r"reloading: importing the application anew": "a SIGHUP",
    r"reloaded in [\d.]+ s": "a SIGHUP",
    r"SIGTERM: stopping gracefully; a second signal stops immediately": "the end",
    rf"{MEMBER} died \({KILLED}\); restarting it (at once|in \d+ s)": "a kill",
    rf"{MEMBER} died while it was draining: {KILLED}": "a kill of one that drained",
    rf"{MEMBER} is not replaced: its replacement ended before it served: .*{KILLED}": "a kill of a replacement",
    r"reload failed, the running version stays: a member with the new code did not start": "a kill of a replacement",
    rf"reload failed, the running version stays: the process that imports \S+ ended before it was done: {KILLED}": (
        "a kill of the zygote that imports"
    ),
    rf"{MEMBER}: lost the signals that it ran: [\d, .]+": "a kill during a handler",
    rf"{MEMBER}: redelivering the message of \d+ bytes that it handled": "a kill during a message",
    rf"{MEMBER}: dropped a message of \d+ bytes: 2 mules died while they handled it": "two kills during a message",
    r"spooler \S+: the process of job \S+ died while it ran": "a kill during a job",
    rf"{MEMBER}: job work: attempt \d( of \d+)? failed": "a kill during a job",
    rf"the zygote died \({KILLED}\); its members keep serving; starting another zygote": "a kill of the zygote",
    rf"{MEMBER} is waiting for another zygote: the zygote has ended": "a kill of the zygote, and then of a member",
}
STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (\w+) +")
PARTS = {1: 2, 2: 1, 3: 2, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1}  # how many members run a signal of this number
NEAR = 3.0  # seconds after a kill in which losses are due to it
# The growth that is allowed until the end, as a fraction. (Trio may keep one more idle thread.)
GROWTH = {
    "rss": 0.05,
    "pss": 0.05,
    "anonymous": 0.05,
    "fds": 0,
    "threads": 1,
    "children": 0,
    "tasks": 0,
    "objects": 0.02,
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """The master at one moment; memory in MiB."""

    HEAD: ClassVar = "  time     rss     pss anonymous  fds threads children zombies tasks objects requests\n"

    time: float
    rss: float
    pss: float
    anonymous: float
    fds: int
    threads: int
    children: int
    zombies: int
    tasks: int
    objects: int
    requests: int
    types: Counter[str] = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return (
            f"{self.time:6.0f} {self.rss:7.1f} {self.pss:7.1f} {self.anonymous:9.1f} {self.fds:4} {self.threads:7} "
            f"{self.children:8} {self.zombies:7} {self.tasks:5} {self.objects:7} {self.requests:8}"
        )


def children(pid: int) -> list[int]:
    """The processes right below this one."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def take_sample(now: float, pid: int, report: dict[str, Any]) -> Sample:  # Any: it is JSON
    """Take a sample of the master, which has sent this report."""
    proc = Path(f"/proc/{pid}")
    memory = dict(re.findall(r"^(Rss|Pss|Anonymous): +(\d+)", (proc / "smaps_rollup").read_text(), re.MULTILINE))
    below = children(pid)
    states = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in below]
    return Sample(
        time=now,
        rss=int(memory["Rss"]) / 1024,
        pss=int(memory["Pss"]) / 1024,
        anonymous=int(memory["Anonymous"]) / 1024,
        fds=len(list((proc / "fd").iterdir())),
        threads=len(list((proc / "task").iterdir())),
        children=len(below),
        zombies=states.count("Z"),
        tasks=report["tasks"],
        objects=sum(report["objects"].values()),
        types=Counter(report["objects"]),
        requests=sum(member["done"] for member in report["statistics"]["members"]),
    )


@dataclasses.dataclass
class Outcome:
    """What was done to the server and observed. `total` is the cache's; `report` is the last of the server."""

    samples: list[Sample] = dataclasses.field(default_factory=list)
    kills: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    reloads: int = 0
    total: int = 0
    last_versions: set[str] = dataclasses.field(default_factory=set)
    exit_code: int | None = None
    report: dict[str, Any] = dataclasses.field(default_factory=dict)  # Any: it is JSON
    left: list[str] = dataclasses.field(default_factory=list)
    parts: int = 0  # partial files of jobs
    problems: list[str] = dataclasses.field(default_factory=list)


class Checks:
    """All checks. Each prints its numbers, and records problems."""

    def __init__(self, outcome: Outcome, clients: Clients, folder: Path) -> None:
        self.outcome = outcome
        self.clients = clients
        self.folder = folder
        self.problems = outcome.problems
        self.killed = Counter(kind for _, kind in outcome.kills)

    def noted(self, kind: str) -> list[str]:
        """The lines of this kind that members have recorded."""
        path = self.folder / kind
        return path.read_text().splitlines() if path.exists() else []

    def check(self, finding: str, holds: bool) -> None:
        """Print a finding, and record it as a problem unless it is as expected."""
        print(finding)
        if not holds:
            self.problems.append(finding)

    def growth(self) -> None:
        """Compare the master's resources at the end with the second minute, or in shorter runs the second quarter.

        Runs of less than two minutes are not checked: initial growth cannot be distinguished from a leak there.
        """
        samples = self.outcome.samples
        over = samples[-1].time
        start, width = (60.0, 60.0) if over > 240 else (over / 4, over / 4)
        early = [sample for sample in samples if start <= sample.time < start + width]
        late = [sample for sample in samples if sample.time >= over - width]
        for what, most in GROWTH.items():
            # A reload doubles some resources for a moment, so the minimum is taken.
            typical = statistics.median if 0 < most < 1 else min
            before, after = (typical([getattr(sample, what) for sample in part]) for part in (early, late))
            finding = f"master's {what}: {before:g} from {start:.0f} s to {start + width:.0f} s, {after:g} at the end"
            self.check(finding, over < 115 or after <= before * (1 + most))
        late[-1].types.subtract(early[0].types)
        print(f"types with more objects: {late[-1].types.most_common(8)}")
        zombies = statistics.median(sample.zombies for sample in late)
        self.check(
            f"zombies: {max(sample.zombies for sample in samples)} at most, {zombies:g} at the end", zombies == 0
        )

    def requests(self) -> None:
        """No response is broken, and lost requests are due to kills."""
        clients = self.clients
        asked, whole = clients.asked.total(), clients.versions.total()
        print(
            f"{asked} requests, {whole} complete responses of {len(clients.versions)} versions: {dict(clients.asked)}"
        )
        self.check(f"broken: {len(clients.broken)} {clients.broken[:3]}", not clients.broken)
        self.check(f"hanging: {len(clients.hanging)} {clients.hanging[:3]}", not clients.hanging)
        self.check(f"all others were lost: {len(clients.lost)}", asked == whole + len(clients.lost))
        for what, lost, most in (
            ("requests", clients.lost, CLIENTS * self.killed["worker"]),
            ("calls over the uwsgi socket", clients.calls_lost, self.killed["worker"]),
        ):
            far = [(when, path) for when, path in lost if not self.near_a_kill(when)]
            self.check(f"lost {what}: {len(lost)}; not just after a kill: {far}", not far and len(lost) <= most)
        print(f"calls over the uwsgi socket: {clients.calls} by clients, {clients.asked['/rpc']} between members")
        most = CLIENTS * self.killed["worker"]
        self.check(f"calls between members without an answer: {dict(clients.nodes)}", clients.nodes.total() <= most)

    def near_a_kill(self, when: float) -> bool:
        return any(kind == "worker" and 0 <= when - killed < NEAR for killed, kind in self.outcome.kills)

    def counts(self) -> None:
        """The cache and the file have what was acknowledged, and more only because of kills."""
        kills = len(self.outcome.kills)
        locked = [*self.clients.locked, *map(int, self.noted("locked"))]
        number = int((self.folder / "number").read_text())
        for what, known, total, most in (
            ("increments of a cache", self.clients.counted, self.outcome.total, len(self.clients.lost)),
            ("increments of a file under a lock", locked, number, len(self.clients.lost) + kills),
        ):
            once = len(known) == len(set(known))
            finding = f"{what}: {len(known)} acknowledged{'' if once else ', SOME TWICE'}, {total} in all"
            self.check(finding, once and len(known) <= total <= len(known) + most)

    def signals(self) -> None:
        """Each signal was begun, or was lost with a member and counted as lost."""
        counts = self.outcome.report["statistics"]["signals"]
        raised, begun, ended = (Counter(map(int, self.noted(kind))) for kind in ("raised", "begun", "ended"))
        print(f"signals: {counts}; begun {begun.total()}, ended {ended.total()}, by members raised {raised.total()}")
        kills, lost = len(self.outcome.kills), counts["lost"]
        none = not counts["refused"] + counts["unregistered"] + counts["undelivered"]
        self.check(f"signals, none undelivered: {counts}", none)
        between = counts["delivered"] - lost <= ended.total() <= begun.total() <= counts["delivered"]
        self.check(f"signals: {counts['delivered']} begun, {lost} of them lost, {ended.total()} ended", between)
        for number, parts in PARTS.items():
            given = raised[number] * parts
            fits = given - lost <= ended[number] <= given + kills * parts
            self.check(f"signal {number}: {raised[number]} raised for {parts}, {ended[number]} ended", fits)
        ticks = {number: count for number, count in sorted(begun.items()) if number not in PARTS}
        over = self.outcome.samples[-1].time
        few = [number for number, count in ticks.items() if number != 23 and not 0.8 * over <= count <= over + 20]
        self.check(f"ticks by signal in {over:.0f} s (23 is the cron's): {ticks}", not few and len(ticks) >= 3)

    def work(self) -> None:
        """Each job ran at least once; each message was handled once, or again if the log says so."""
        spool = self.outcome.report["statistics"]["spools"][0]
        queued, ran = self.noted("queued"), Counter(self.noted("ran"))
        missing = set(queued) - set(ran)
        finding = f"jobs: {len(queued)} queued, {len(ran)} ran, {ran.total() - len(ran)} again, {spool['dead']} dead"
        self.check(finding, not missing and not spool["dead"])
        counts = self.outcome.report["statistics"]["messages"]
        posted, handled, again = (set(self.noted(kind)) for kind in ("posted", "handled", "again"))
        more = len(self.noted("handled")) - len(handled) + len(self.noted("again")) - len(again)
        finding = f"messages: {len(posted)} posted, {len(handled)} handled, {len(again)} delivered again; {counts}"
        fits = len(posted - handled - again) <= counts["lost"] and not more and len(again) <= counts["redelivered"]
        self.check(finding, fits and not counts["undelivered"])

    def log(self) -> None:
        """Each line has a reason, and the lines about kills and reloads are as many as there were."""
        lines = (self.folder / "log").read_text().splitlines()
        found: Counter[str] = Counter()
        for line in lines:
            text = STAMP.sub("", line)
            reason = next((pattern for pattern in EXPECTED if re.match(pattern, text)), None)
            found[reason or ""] += 1
            if reason is None and found[""] <= 40:
                self.problems.append(f"unexplained: {line}")
        print(f"{len(lines)} lines of the log, {found['']} of them unexplained:")
        for pattern, why in EXPECTED.items():
            print(f"  {found[pattern]:5} {why}: {pattern}")
        deaths = sum(found[pattern] for pattern in EXPECTED if "KILL" in pattern)
        kills = len(self.outcome.kills)
        # A replaced member that is killed in the instant in which it exits is not counted as dead.
        self.check(f"kills: {kills} {dict(self.killed)}, deaths in the log: {deaths}", 0.9 * kills <= deaths <= kills)
        newest = f"version {self.outcome.reloads + 1}"
        undone = sum(found[pattern] for pattern in EXPECTED if pattern.startswith("reload failed"))
        done = sum(found[pattern] for pattern in EXPECTED if pattern.startswith("reloaded"))
        self.check(
            f"reloads: {self.outcome.reloads} asked for, {done} done, {undone} failed because of kills",
            done + undone == self.outcome.reloads,
        )

        versions = self.outcome.last_versions
        self.check(f"versions at the end: {versions}, the newest is {newest}", bool(undone) or versions == {newest})

    def end(self) -> None:
        """No process and no file is left."""
        self.check(f"exit code {self.outcome.exit_code}", self.outcome.exit_code == 0)
        self.check(f"left: {self.outcome.left}", not self.outcome.left)
        finding = f"partial files of jobs, because of kills: {self.outcome.parts}"
        self.check(finding, self.outcome.parts <= self.killed["worker"])


def check(outcome: Outcome, clients: Clients, folder: Path) -> Sequence[str]:
    """Make all checks; returns the problems."""
    checks = Checks(outcome, clients, folder)
    each: list[Callable[[], None]] = [
        *(checks.growth, checks.requests, checks.counts, checks.signals, checks.work, checks.log, checks.end)
    ]
    for one in each:
        one()
    return checks.problems
