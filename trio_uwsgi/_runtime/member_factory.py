"""The member factory: makes each member instance that a placement asks for, and adds up what all instances did.

What a member runs is in `worker.py`, `mule.py` and `spooler.py`; where it runs, in `placement.py`; when it is restarted
or replaced, in `supervisor.py`.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from trio_uwsgi._http.accept_share import Share
from trio_uwsgi._http.statistics import HttpStatistics
from trio_uwsgi._link.scoreboard import TOTALS
from trio_uwsgi._locks.locks import UserLocks
from trio_uwsgi._nodes.client import Nodes
from trio_uwsgi._runtime.member_instance import second_name
from trio_uwsgi._runtime.member_threads import rpc_threads
from trio_uwsgi._runtime.mule import mule_threads, serve_mule
from trio_uwsgi._runtime.placement import Ending, MemberTask, Stopped
from trio_uwsgi._runtime.scaling import MOST_ADDED
from trio_uwsgi._runtime.slots import SlotState
from trio_uwsgi._runtime.spooler import serve_spooler, spooler_threads
from trio_uwsgi._runtime.stores import Stores
from trio_uwsgi._runtime.worker import Application, Worker, WorkerSettings, make_worker
from trio_uwsgi._runtime.worker_statistics import WorkerStatistics, worker_statistics
from trio_uwsgi._signals.inbox import Inbox
from trio_uwsgi._signals.ticker import MemberTimers
from trio_uwsgi._spool.directories import Spools
from trio_uwsgi._spool.directory import Spool, SpoolSettings, SpoolStatistics
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._spool.rules import Retry
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.member import Member, Services, Workers

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Row
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.settings import Environment, Settings, Shared
    from trio_uwsgi._runtime.slots import Slot

__all__ = ["MemberFactory", "MemberStatistics"]

_HTTP_COLUMNS = ("requests", "connections", "running", "open")


@dataclasses.dataclass(frozen=True, slots=True)
class MemberStatistics:
    """The slot of one member, with the counters of all instances that it has had.

    Attributes:
        name: the name of the member, as in `worker1` or `mule2`.
        state: `"starting"`, `"ready"`, `"backing off"` (a pause after a death), `"vacant"` (no instance until there is
            work) or `"ended"`.
        waiting: signals and messages in the queue.
        running: signals and messages that are being handled.
        done: requests that have ended, and jobs and calls of handlers that returned.
        failed: requests, jobs and calls of handlers that raised an exception.
        harakiri: requests, jobs and calls of handlers that were cancelled at their time limit.
        stuck: threads whose code was cancelled at its time limit and still runs.
        deaths: instances that died.
    """

    name: str
    state: str
    waiting: int
    running: int
    done: int
    failed: int
    harakiri: int
    stuck: int
    deaths: int


class MemberFactory:
    """Makes the member instances of a runtime that run in this process.

    `calls` and `workers` are those of the last instance in each slot. `services` are shared by all members.
    """

    def __init__(
        self,
        application: Application,
        registry: Registry,
        settings: Settings,
        environment: Environment,
    ) -> None:
        self.application = application
        self._registry = registry
        self._settings = settings
        self._environment = environment
        self._shared = shared = environment.shared
        stores = environment.stores or Stores(settings, environment.wall.now, shared)
        self.services = Services(
            headcount=settings.headcount,
            caches=stores.caches,
            queue=stores.queue,
            metrics=stores.metrics,
            locks=UserLocks(settings.locks) if shared is None else shared.locks,
            areas=stores.areas,
            nodes=Nodes(settings.node_timeout),
            spools=Spools([self._spool(directory) for directory in settings.spooler.directories]),
            alarms=frozenset(settings.alarms.alarms),
            options=settings.options,
            master_pid=os.getpid() if shared is None else shared.master_pid,
            mercy=settings.mercy,
            reloads=shared is not None,
            workers=Workers(environment.listeners),
        )
        self.services.spools.pids = self._spooler_pids
        self.services.workers.find = self.worker_statistics
        self._slots: dict[str, Slot] = {}  # of the members of this process
        self._spawned: dict[str, float] = {}  # when the last instance in a slot started, in seconds since the epoch
        self.recycling_limits = settings.recycling
        self.calls: dict[str, Calls] = {}
        self.workers: dict[str, Worker] = {}
        self._earlier: dict[str, Counter[str]] = {}  # what the instances before the last one did, by name of the slot

    def make_member(self, instance: MemberInstance) -> MemberTask:
        """Make a member for this instance."""
        slot = instance.slot
        member = self.member(slot)
        if instance.replacement:
            member.inbox.wait_for_slot()
        bodies = {"worker": self._worker, "mule": self._mule, "spooler": self._spooler}
        return MemberTask(member, partial(_until_stopped, bodies[slot.kind](member)))

    def member(self, slot: Slot) -> Member:
        """The identity of the next member in a slot. Its own counters begin at 0."""
        earlier = self._earlier.setdefault(slot.name, Counter())
        if (before := self.calls.get(slot.name)) is not None:
            earlier.update(_counts(before))
        wall = self._environment.wall
        self._slots[slot.name] = slot
        self._spawned[slot.name] = wall.now()
        if self._shared is None:
            earlier["spawns"] += 1
        member = Member(slot.kind, slot.number, self._registry, self._environment.journal, wall.now)
        limits = {"mule": self._settings.mule_harakiri, "spooler": self._settings.spooler.harakiri}
        self.calls[slot.name] = calls = Calls(member, limits.get(slot.kind, self._settings.harakiri))
        member.services = self.services
        member.inbox = Inbox(member, calls)
        member.timers = MemberTimers(member, self._settings.zone, wall)
        return member

    def _worker(self, member: Member) -> Callable[[], Awaitable[None]]:
        settings = WorkerSettings(
            http=self._settings.http,
            access=self._settings.access,
            script=self._settings.script if member.number == 1 else None,
        )
        worker = make_worker(member, self.calls[member.name], self.application, settings, self._environment.listeners)
        worker.share = self._share(member)
        if (before := self.workers.get(member.name)) is not None:
            self._earlier[member.name].update(_http_counts(before))
        self.workers[member.name] = worker
        return worker.serve

    def _share(self, member: Member) -> Share | None:
        """How a worker shares accepting with the other workers, where they are processes."""
        if self._shared is None:
            return None
        rows = {name: self._shared.scoreboard.rows[row] for name, row in self._shared.rows.items()}
        mine = rows.pop(self._shared.mine)
        others = [row for name, row in rows.items() if name.startswith("worker")]
        return Share(mine, others) if others else None

    def _mule(self, member: Member) -> Callable[[], Awaitable[None]]:
        member.threads = mule_threads(member)
        member.rpc_threads = rpc_threads(member)
        return partial(serve_mule, member, self.calls[member.name])

    def _spooler(self, member: Member) -> Callable[[], Awaitable[None]]:
        member.threads = spooler_threads(member)
        member.rpc_threads = rpc_threads(member)
        spool = self.spool_of(member)
        return partial(serve_spooler, member, self.calls[member.name], spool, self._settings.spooler)

    def spool_of(self, member: Member) -> Spool:
        """The directory of a spooler."""
        return self.services.spools.all[(member.number - 1) // self._settings.spooler.processes]

    def _spool(self, directory: str) -> Spool:
        options = self._settings.spooler
        retry = Retry(options.max_tries, options.retry, options.retry_longest)
        wall = self._environment.wall
        settings = SpoolSettings(
            frequency=options.frequency,
            retry=retry,
            max_tries=self._registry.spool.max_tries,
            fsync=options.fsync,
            chance=self._environment.chance,
            watch_only=self._shared is not None and self._shared.caches is True,  # the master
        )
        return Spool(SpoolFolder(directory, wall.now), settings, wall)

    def continue_counters(self, name: str, row: Row) -> None:
        """Continue the counters of the earlier instances in the slot, which were other processes."""
        self._earlier[name] = earlier = Counter({column: int(row.get(column)) for column in TOTALS})
        earlier["spawns"] += 1
        row.set("before", earlier["requests"])
        row.set("last_spawn", self._spawned[name])

    def note(self, name: str, row: Row) -> None:
        """Write the counters of the member of this process into its row of the scoreboard, for the other processes."""
        for column, value in self._numbers(name).items():
            row.set(column, value)

    def _numbers(self, name: str) -> dict[str, int]:
        """The numbers of a member of this process, by column of the scoreboard."""
        calls = self.calls[name]
        member = calls.member
        stuck = member.threads.stuck + member.rpc_threads.stuck
        counts = Counter(_counts(calls))
        if member.kind == "spooler":
            spool = self.spool_of(member)
            counts.update(running=spool.running, jobs_done=spool.done, jobs_failed=spool.failed)
        counts.update(self._earlier[name])
        if (worker := self.workers.get(name)) is not None:
            stuck += worker.stuck
            http = worker.statistics()
            counts.update(_http_counts(worker))
            counts.update(running=http.running, open=http.open, paused=worker.paused)
        return {**counts, "stuck": stuck}

    def worker_statistics(self) -> tuple[WorkerStatistics, ...]:
        """What each worker does and has done. Any thread may call this."""
        configured = self._settings.headcount.workers
        if self._shared is None:
            here = {slot.number: self._numbers_here(slot) for slot in self._slots.values() if slot.kind == "worker"}
            numbers = sorted(here.keys() | {*range(1, configured + 1)})
            return tuple(worker_statistics(number, [here.get(number, Counter())]) for number in numbers)
        shared = self._shared
        board = shared.scoreboard.rows
        if shared.mine:
            for name in self._slots.keys() - {"master"}:  # the member of this process
                self.note(name, board[shared.rows[shared.mine]])
        found = []
        for number in range(1, configured + MOST_ADDED + 1):
            name = f"worker{number}"
            rows = [board[shared.rows[instance]] for instance in (name, second_name(name))]
            if number <= configured or any(row.get("spawns") for row in rows):
                found.append(worker_statistics(number, [row.numbers() for row in rows]))
        return tuple(found)

    def _numbers_here(self, slot: Slot) -> dict[str, float]:
        """The numbers of a worker that is a task of this process."""
        runs = slot.state in (SlotState.STARTING, SlotState.READY)
        worker, inbox = self.workers[slot.name], self.calls[slot.name].member.inbox
        handling = inbox.handling
        return {
            **self._numbers(slot.name),
            "pid": os.getpid() if runs else 0,
            "heartbeat": slot.state is SlotState.READY,
            "stopping": worker.draining,
            "before": self._earlier[slot.name]["requests"],
            "last_spawn": self._spawned[slot.name] if runs else 0,
            "signal": 0 if handling is None else handling + 1,
        }

    def _spooler_pids(self) -> list[int]:
        if self._shared is None:
            return [os.getpid()] * self._settings.spooler.count
        rows = [
            self._shared.scoreboard.rows[row] for name, row in self._shared.rows.items() if name.startswith("spooler")
        ]
        return [int(row.get("pid")) for row in rows if row.get("pid")]

    def spool_statistics(self, slots: Sequence[Slot]) -> tuple[SpoolStatistics, ...]:
        """The counters of the directories of these spoolers."""
        here = [spool.statistics() for spool in self.services.spools.all]
        if self._shared is None:
            return tuple(here)
        count = self._settings.spooler.processes
        found = []
        for number, known in enumerate(here):
            rows = [
                self._shared.scoreboard.rows[self._shared.rows[slot.name]] for slot in slots[number * count :][:count]
            ]
            running, done, failed = (
                int(sum(row.get(column) for row in rows)) for column in ("running", "jobs_done", "jobs_failed")
            )
            waiting = max(0, known.waiting - running)  # the files of running jobs count as waiting there
            found.append(dataclasses.replace(known, waiting=waiting, running=running, done=done, failed=failed))
        return tuple(found)

    def http_statistics(self, slots: Sequence[Slot]) -> tuple[HttpStatistics, ...]:
        """The HTTP counters of the workers in these slots."""
        if self._shared is None:
            return tuple(self._http_so_far(name, worker) for name, worker in self.workers.items())
        return tuple(
            HttpStatistics(
                name=slot.name, **{column: self._written(self._shared, slot, column) for column in _HTTP_COLUMNS}
            )
            for slot in slots
        )

    def _http_so_far(self, name: str, worker: Worker) -> HttpStatistics:
        so_far = _http_counts(worker) + self._earlier.get(name, Counter())
        return dataclasses.replace(worker.statistics(), requests=so_far["requests"], connections=so_far["connections"])

    def _written(self, shared: Shared, slot: Slot, column: str) -> int:
        """The sum of what the one or two instances in a slot have written into the scoreboard."""
        rows = [shared.scoreboard.rows[shared.rows[name]] for name in (slot.name, second_name(slot.name))]
        return sum(int(row.get(column)) for row in rows)

    def statistics(self, slot: Slot) -> MemberStatistics:
        """The state and the counters of a slot."""
        counts = Counter(self._earlier.get(slot.name, Counter()))
        stuck = 0
        if self._shared is not None and slot.kind != "master":
            columns = ("done", "failed", "harakiri")
            counts.update({column: self._written(self._shared, slot, column) for column in columns})
            stuck = self._written(self._shared, slot, "stuck")
        if (calls := self.calls.get(slot.name)) is not None:  # an instance ran in this process
            counts.update(_counts(calls))
            stuck = calls.member.threads.stuck + calls.member.rpc_threads.stuck
        if (worker := self.workers.get(slot.name)) is not None:
            stuck += worker.stuck
        return MemberStatistics(
            name=slot.name,
            state=slot.state.value,
            waiting=len(slot.signals) + len(slot.messages),
            running=len(slot.running),
            done=counts["done"],
            failed=counts["failed"],
            harakiri=counts["harakiri"],
            stuck=stuck,
            deaths=slot.deaths,
        )


def _counts(calls: Calls) -> dict[str, int]:
    signals = calls.member.inbox.signals_handled
    return {"done": calls.done, "failed": calls.failures, "harakiri": calls.harakiris, "signals": signals}


def _http_counts(worker: Worker) -> Counter[str]:
    http = worker.statistics()
    return Counter(requests=http.requests, connections=http.connections, **worker.effort())


async def _until_stopped(body: Callable[[], Awaitable[None]]) -> Ending:
    """A member that is a task returns only when it was asked to stop; an exception is a bug, and passes."""
    await body()
    return Stopped()
