"""What `soak.py` has seen, and whether that is as it should be."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.soak_clients import CLIENTS, Clients

# Lines of the log that are expected, and why. What else is there is a bug, here or there.
MEMBER = r"(worker|mule|spooler)\d"
KILLED = r"killed by SIGKILL"
EXPECTED = {
    r"trio_uwsgi \S+ \(trio .*\) serves the application": "the start",
    r"(http|uwsgi) on ": "the start",
    r"2 workers, 2 mules and 1 spooler, in processes of process": "the start",
    r"reloading: importing the application anew": "a SIGHUP",
    r"reloaded in [\d.]+ s": "a SIGHUP",
    r"SIGTERM: stopping when running work has ended; once more stops now": "the end",
    rf"{MEMBER} died \({KILLED}\); restarting it (at once|in \d+ s)": "a kill",
    rf"{MEMBER} died while it drained: {KILLED}": "a kill of one that drained",
    rf"{MEMBER} is not replaced: its replacement ended before it served: .*{KILLED}": "a kill of a replacement",
    r"reload failed, the running version stays: a member with the new code did not start": "a kill of a replacement",
    rf"reload failed, the running version stays: the process that was to import \S+ ended before it had: {KILLED}": (
        "a kill of the zygote that imports"
    ),
    rf"{MEMBER}: lost the signals that it ran: [\d, .]+": "a kill during a handler",
    rf"{MEMBER}: redelivering the message of \d+ bytes that it handled": "a kill during a message",
    rf"{MEMBER}: dropped a message of \d+ bytes: 2 mules died while they handled it": "two kills during a message",
    r"spooler \S+: the process of job \S+ died while it ran": "a kill during a job",
    rf"{MEMBER}: job work: attempt \d( of \d+)? failed": "a kill during a job",
    rf"the zygote died \({KILLED}\); its members serve on, and another one is started": "a kill of the zygote",
    rf"{MEMBER} waits for another zygote: the zygote has ended": "a kill of the zygote, and then of a member",
}
STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (\w+) +")
PARTS = {1: 2, 2: 1, 3: 2, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1}  # how many members run a signal of this number
NEAR = 3.0  # seconds: what is lost in which is due to a kill
# What may be more at the end, as a part. (A thread more is one that Trio keeps for its next call.)
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
class Look:
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


def look_at(now: float, pid: int, told: dict[str, Any]) -> Look:  # Any: it is JSON
    """Look at a process, which has told this of itself."""
    proc = Path(f"/proc/{pid}")
    memory = dict(re.findall(r"^(Rss|Pss|Anonymous): +(\d+)", (proc / "smaps_rollup").read_text(), re.MULTILINE))
    below = children(pid)
    states = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in below]
    return Look(
        time=now,
        rss=int(memory["Rss"]) / 1024,
        pss=int(memory["Pss"]) / 1024,
        anonymous=int(memory["Anonymous"]) / 1024,
        fds=len(list((proc / "fd").iterdir())),
        threads=len(list((proc / "task").iterdir())),
        children=len(below),
        zombies=states.count("Z"),
        tasks=told["tasks"],
        objects=sum(told["objects"].values()),
        types=Counter(told["objects"]),
        requests=sum(member["done"] for member in told["statistics"]["members"]),
    )


@dataclasses.dataclass
class Outcome:
    """What was done to the server, and seen of it. `total` is that of the cache, `told` the master's last word."""

    looks: list[Look] = dataclasses.field(default_factory=list)
    kills: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    reloads: int = 0
    total: int = 0
    last_versions: set[str] = dataclasses.field(default_factory=set)
    exit_code: int | None = None
    told: dict[str, Any] = dataclasses.field(default_factory=dict)  # Any: it is JSON
    left: list[str] = dataclasses.field(default_factory=list)
    parts: int = 0  # files of jobs that were never whole
    problems: list[str] = dataclasses.field(default_factory=list)


class Checks:
    """All of them. Each prints its numbers, and notes what is wrong."""

    def __init__(self, outcome: Outcome, clients: Clients, folder: Path) -> None:
        self.outcome = outcome
        self.clients = clients
        self.folder = folder
        self.problems = outcome.problems
        self.killed = Counter(kind for _, kind in outcome.kills)

    def noted(self, kind: str) -> list[str]:
        """The lines that members have written."""
        path = self.folder / kind
        return path.read_text().splitlines() if path.exists() else []

    def right(self, said: str, holds: bool) -> None:
        """Print what was found, and note it if it is not right."""
        print(said)
        if not holds:
            self.problems.append(said)

    def growth(self) -> None:
        """Of the master, from the second minute to the end; of shorter runs, from the second quarter. In less than two
        minutes what it needs at first is not told from a leak.
        """
        looks = self.outcome.looks
        over = looks[-1].time
        start, width = (60.0, 60.0) if over > 240 else (over / 4, over / 4)
        early = [look for look in looks if start <= look.time < start + width]
        late = [look for look in looks if look.time >= over - width]
        for what, most in GROWTH.items():
            # Of what a reload has twice for a moment, what there is at rest: the least.
            typical = statistics.median if 0 < most < 1 else min
            before, after = (typical([getattr(look, what) for look in part]) for part in (early, late))
            said = f"master's {what}: {before:g} from {start:.0f} s to {start + width:.0f} s, {after:g} at the end"
            self.right(said, over < 115 or after <= before * (1 + most))
        late[-1].types.subtract(early[0].types)
        print(f"objects that there are more of: {late[-1].types.most_common(8)}")
        zombies = statistics.median(look.zombies for look in late)
        self.right(f"zombies: {max(look.zombies for look in looks)} at most, {zombies:g} at the end", zombies == 0)

    def requests(self) -> None:
        """Nothing is broken, and what is lost is due to kills."""
        clients = self.clients
        asked, whole = clients.asked.total(), clients.versions.total()
        print(f"{asked} requests, {whole} whole answers of {len(clients.versions)} versions: {dict(clients.asked)}")
        self.right(f"broken: {len(clients.broken)} {clients.broken[:3]}", not clients.broken)
        self.right(f"hanging: {len(clients.hanging)} {clients.hanging[:3]}", not clients.hanging)
        self.right(f"the others were lost: {len(clients.lost)}", asked == whole + len(clients.lost))
        for what, lost, most in (
            ("requests", clients.lost, CLIENTS * self.killed["worker"]),
            ("calls over the uwsgi socket", clients.calls_lost, self.killed["worker"]),
        ):
            far = [(when, path) for when, path in lost if not self.near_a_kill(when)]
            self.right(f"lost {what}: {len(lost)}; not just after a kill: {far}", not far and len(lost) <= most)
        print(f"calls over the uwsgi socket: {clients.calls} from outside, {clients.asked['/rpc']} between members")
        most = CLIENTS * self.killed["worker"]
        self.right(f"those between members that had no answer: {dict(clients.nodes)}", clients.nodes.total() <= most)

    def near_a_kill(self, when: float) -> bool:
        return any(kind == "worker" and 0 <= when - killed < NEAR for killed, kind in self.outcome.kills)

    def counts(self) -> None:
        """The cache and the file have what was acknowledged, and at most what kills have kept from being so."""
        kills = len(self.outcome.kills)
        locked = [*self.clients.locked, *map(int, self.noted("locked"))]
        number = int((self.folder / "number").read_text())
        for what, known, total, most in (
            ("increments of a cache", self.clients.counted, self.outcome.total, len(self.clients.lost)),
            ("increments of a file under a lock", locked, number, len(self.clients.lost) + kills),
        ):
            once = len(known) == len(set(known))
            said = f"{what}: {len(known)} acknowledged{'' if once else ', SOME TWICE'}, {total} in all"
            self.right(said, once and len(known) <= total <= len(known) + most)

    def signals(self) -> None:
        """Each is begun, or lost with a member, and said so."""
        told = self.outcome.told["statistics"]["signals"]
        raised, begun, ended = (Counter(map(int, self.noted(kind))) for kind in ("raised", "begun", "ended"))
        print(f"signals: {told}; begun {begun.total()}, ended {ended.total()}, by members raised {raised.total()}")
        kills, lost = len(self.outcome.kills), told["lost"]
        none = not told["refused"] + told["unregistered"] + told["undelivered"]
        self.right(f"signals, none undelivered: {told}", none)
        between = told["delivered"] - lost <= ended.total() <= begun.total() <= told["delivered"]
        self.right(f"signals: {told['delivered']} begun, {lost} of them lost, {ended.total()} ended", between)
        for number, parts in PARTS.items():
            given = raised[number] * parts
            fits = given - lost <= ended[number] <= given + kills * parts
            self.right(f"signal {number}: {raised[number]} raised for {parts}, {ended[number]} ended", fits)
        ticks = {number: count for number, count in sorted(begun.items()) if number not in PARTS}
        over = self.outcome.looks[-1].time
        few = [number for number, count in ticks.items() if number != 23 and not 0.8 * over <= count <= over + 20]
        self.right(f"ticks by signal in {over:.0f} s (23 is the cron's): {ticks}", not few and len(ticks) >= 3)

    def work(self) -> None:
        """Jobs have run at least once, messages were handled once, or again where that was said."""
        spool = self.outcome.told["statistics"]["spools"][0]
        queued, ran = self.noted("queued"), Counter(self.noted("ran"))
        missing = set(queued) - set(ran)
        said = f"jobs: {len(queued)} queued, {len(ran)} ran, {ran.total() - len(ran)} again, {spool['dead']} dead"
        self.right(said, not missing and not spool["dead"])
        told = self.outcome.told["statistics"]["messages"]
        posted, handled, again = (set(self.noted(kind)) for kind in ("posted", "handled", "again"))
        more = len(self.noted("handled")) - len(handled) + len(self.noted("again")) - len(again)
        said = f"messages: {len(posted)} posted, {len(handled)} handled, {len(again)} given again; {told}"
        fits = len(posted - handled - again) <= told["lost"] and not more and len(again) <= told["redelivered"]
        self.right(said, fits and not told["undelivered"])

    def log(self) -> None:
        """Each line has a reason, and there are as many as there were reasons."""
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
        # One that is killed in the instant in which it ends by itself, after it drained, has died of that.
        self.right(f"kills: {kills} {dict(self.killed)}, deaths in the log: {deaths}", 0.9 * kills <= deaths <= kills)
        newest = f"version {self.outcome.reloads + 1}"
        undone = sum(found[pattern] for pattern in EXPECTED if pattern.startswith("reload failed"))
        done = sum(found[pattern] for pattern in EXPECTED if pattern.startswith("reloaded"))
        self.right(
            f"reloads: {self.outcome.reloads} asked for, {done} done, {undone} not, because of kills",
            done + undone == self.outcome.reloads,
        )

        versions = self.outcome.last_versions
        self.right(f"versions at the end: {versions}, the newest is {newest}", bool(undone) or versions == {newest})

    def end(self) -> None:
        """Nothing is left."""
        self.right(f"exit code {self.outcome.exit_code}", self.outcome.exit_code == 0)
        self.right(f"left: {self.outcome.left}", not self.outcome.left)
        said = f"jobs that were being written when a kill came: {self.outcome.parts}"
        self.right(said, self.outcome.parts <= self.killed["worker"])


def check(outcome: Outcome, clients: Clients, folder: Path) -> Sequence[str]:
    """Make all checks; gives what is wrong."""
    checks = Checks(outcome, clients, folder)
    each: list[Callable[[], None]] = [
        *(checks.growth, checks.requests, checks.counts, checks.signals, checks.work, checks.log, checks.end)
    ]
    for one in each:
        one()
    return checks.problems
