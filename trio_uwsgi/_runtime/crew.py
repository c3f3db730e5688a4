"""The members of one runtime: makes each life that a placement asks for, and counts what all lives did. Floor 3.

What a member does is in `worker.py`, `mule.py` and `spooler.py`; where it lives, in `placement.py`; who follows it, in
`supervisor.py`.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from trio_uwsgi._core.spool import Retry
from trio_uwsgi._runtime.mule import mule_threads, serve_mule
from trio_uwsgi._runtime.placement import Ending, Life, Stopped
from trio_uwsgi._runtime.spooler import serve_spooler, spooler_threads
from trio_uwsgi._runtime.worker import Application, Worker, WorkerTerms, make_worker, rpc_threads
from trio_uwsgi._tasks.caches import Caches
from trio_uwsgi._tasks.calls import Calls
from trio_uwsgi._tasks.inbox import Inbox
from trio_uwsgi._tasks.locks import UserLocks
from trio_uwsgi._tasks.node import Nodes
from trio_uwsgi._tasks.sources import MemberTimers
from trio_uwsgi._tasks.spool import Spool, SpoolTerms
from trio_uwsgi._tasks.spool_files import SpoolFolder
from trio_uwsgi._tasks.spools import Spools
from trio_uwsgi._tasks.unit import Member, Services

if TYPE_CHECKING:
    from trio_uwsgi._core.registry import Registry
    from trio_uwsgi._core.seats import Seat
    from trio_uwsgi._runtime.runtime import Surroundings, Terms
    from trio_uwsgi._tasks.listeners import Listener

__all__ = ["Crew", "MemberStatistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class MemberStatistics:
    """One seat, and all members that sat on it one after the other.

    `state` is `starting`, `ready`, `resting` (after a death), `vacant` (until there is work) or `ended`; signals and
    messages are `waiting`, units `running`; units were `done`, `failed`, or ended by `harakiri`; threads that were
    given up still run (`stuck`); members died (`deaths`).
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


class Crew:
    """The members of a runtime, as far as they live in this process.

    `calls` and `workers` are those of the last life on each seat. `services` are what all members share.
    """

    def __init__(
        self,
        application: Application,
        registry: Registry,
        terms: Terms,
        surroundings: Surroundings,
        listeners: Sequence[Listener],
    ) -> None:
        self._application = application
        self._registry = registry
        self._terms = terms
        self._surroundings = surroundings
        self._listeners = listeners
        self.services = Services(
            caches=Caches(terms.caches, surroundings.wall.now),
            locks=UserLocks(terms.locks),
            nodes=Nodes(terms.node_timeout),
            spools=Spools([self._spool(directory) for directory in terms.spooler.directories]),
            alarms=frozenset(terms.alarms.alarms),
            options=terms.options,
            master_pid=os.getpid(),
        )
        self.services.spools.pids = [os.getpid()] * terms.spooler.count
        self.calls: dict[str, Calls] = {}
        self.workers: dict[str, Worker] = {}
        self._earlier: dict[str, Counter[str]] = {}  # what the lives before the last one did

    def bear(self, seat: Seat) -> Life:
        """Make the next member for a seat."""
        member = self.member(seat)
        bodies = {"worker": self._worker, "mule": self._mule, "spooler": self._spooler}
        return Life(member, partial(_until_told, bodies[seat.kind](member)))

    def member(self, seat: Seat) -> Member:
        """The identity of the next member on a seat; what it did begins at nothing."""
        if (before := self.calls.get(seat.name)) is not None:
            self._earlier.setdefault(seat.name, Counter()).update(_counts(before))
        wall = self._surroundings.wall
        member = Member(seat.kind, seat.number, self._registry, self._surroundings.journal, wall.now)
        limits = {"mule": self._terms.mule_harakiri, "spooler": self._terms.spooler.harakiri}
        self.calls[seat.name] = calls = Calls(member, limits.get(seat.kind, self._terms.harakiri))
        member.services = self.services
        member.inbox = Inbox(member, calls)
        member.timers = MemberTimers(member, self._terms.zone, wall)
        return member

    def _worker(self, member: Member) -> Callable[[], Awaitable[None]]:
        terms = WorkerTerms(http=self._terms.http, access=self._terms.access)
        worker = make_worker(member, self.calls[member.name], self._application, terms, self._listeners)
        self.workers[member.name] = worker
        return worker.serve

    def _mule(self, member: Member) -> Callable[[], Awaitable[None]]:
        member.threads = mule_threads(member)
        member.rpc_threads = rpc_threads(member)
        return partial(serve_mule, member, self.calls[member.name])

    def _spooler(self, member: Member) -> Callable[[], Awaitable[None]]:
        member.threads = spooler_threads(member)
        member.rpc_threads = rpc_threads(member)
        spool = self.services.spools.all[(member.number - 1) // self._terms.spooler.processes]
        return partial(serve_spooler, member, self.calls[member.name], spool, cheap=self._terms.spooler.cheap)

    def _spool(self, directory: str) -> Spool:
        options = self._terms.spooler
        retry = Retry(options.max_tries, options.retry, options.retry_longest)
        wall = self._surroundings.wall
        terms = SpoolTerms(
            frequency=options.frequency,
            retry=retry,
            max_tries=self._registry.spool.max_tries,
            fsync=options.fsync,
            chance=self._surroundings.chance,
        )
        return Spool(SpoolFolder(directory, wall.now), terms, wall)

    def statistics(self, seat: Seat) -> MemberStatistics:
        """How a seat is doing."""
        counts = Counter(self._earlier.get(seat.name, Counter()))
        stuck = 0
        if (calls := self.calls.get(seat.name)) is not None:  # somebody sat there
            counts.update(_counts(calls))
            stuck = calls.member.threads.stuck + calls.member.rpc_threads.stuck
        if (worker := self.workers.get(seat.name)) is not None:
            stuck += worker.stuck
        return MemberStatistics(
            name=seat.name,
            state=seat.state.value,
            waiting=len(seat.signals) + len(seat.messages),
            running=len(seat.running),
            done=counts["done"],
            failed=counts["failed"],
            harakiri=counts["harakiri"],
            stuck=stuck,
            deaths=seat.deaths,
        )


def _counts(calls: Calls) -> dict[str, int]:
    return {"done": calls.done, "failed": calls.failures, "harakiri": calls.harakiris}


async def _until_told(body: Callable[[], Awaitable[None]]) -> Ending:
    """In this process a member ends when it was told to, or with a bug, which goes on."""
    await body()
    return Stopped()
