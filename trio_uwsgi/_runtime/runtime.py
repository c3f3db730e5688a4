"""The tree of nurseries: services, timers, mules, workers. Floor 3.

Started from the top down and ended from the bottom up, so that what is below can always rely on what is above:

    services                       caches, locks, nodes, alarms      end last
    └─ timers                      the ticker
       └─ spoolers                 one task each, with a nursery of its own
          └─ mules                 likewise
             └─ lifespan           of an ASGI application
                └─ workers         likewise                          end first

A graceful stop closes one level after the other: members are told to stop, and the deadline on the nursery's scope is
the mercy. A cancellation of `Runtime.run` ends all levels at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import trio

from trio_uwsgi._core.roster import Roster, Seat
from trio_uwsgi._core.schedule import Schedule
from trio_uwsgi._core.spool import Retry
from trio_uwsgi._core.spool_functions import JobVars, make_request, named_vars
from trio_uwsgi._runtime.master import Master, SignalStatistics, as_message
from trio_uwsgi._runtime.mule import mule_threads, serve_mule
from trio_uwsgi._runtime.placement import Life, Placement
from trio_uwsgi._runtime.spooler import serve_spooler, spooler_threads
from trio_uwsgi._runtime.worker import Application, Worker, WorkerTerms, make_worker, rpc_threads
from trio_uwsgi._tasks.alarms import Alarms, AlarmStatistics
from trio_uwsgi._tasks.caches import Caches
from trio_uwsgi._tasks.calls import Calls
from trio_uwsgi._tasks.inbox import Inbox
from trio_uwsgi._tasks.lifespan import Lifespan
from trio_uwsgi._tasks.link import direct_links
from trio_uwsgi._tasks.locks import UserLocks
from trio_uwsgi._tasks.node import Nodes
from trio_uwsgi._tasks.sources import MemberTimers, Ticker, WallClock
from trio_uwsgi._tasks.spool import Spool, SpoolStatistics, SpoolTerms
from trio_uwsgi._tasks.spool_files import SpoolFolder
from trio_uwsgi._tasks.spools import Spools
from trio_uwsgi._tasks.threads import ThreadPool
from trio_uwsgi._tasks.unit import Member, Services

if TYPE_CHECKING:
    from datetime import tzinfo

    from trio_uwsgi._core.registry import Registry
    from trio_uwsgi._core.targets import Headcount, Kind
    from trio_uwsgi._tasks.asgi import AsgiApp
    from trio_uwsgi._tasks.journal import Journal
    from trio_uwsgi._tasks.listeners import Listener
    from trio_uwsgi._tasks.service import HttpOptions, HttpStatistics
    from trio_uwsgi._wire.request import Peer
    from trio_uwsgi.config import Address
    from trio_uwsgi.options import AccessRules, AlarmOptions, Cache, SpoolerOptions

__all__ = ["MemberStatistics", "Runtime", "RuntimeStatistics", "Surroundings", "Terms"]

logger = logging.getLogger("trio_uwsgi")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a runtime is made of, out of the `Config`: counts, lengths of queues, times in seconds (0: no harakiri).

    `options` are for `uwsgi.opt`.
    """

    headcount: Headcount
    signal_queue: int
    message_queue: int
    harakiri: float
    mule_harakiri: float
    mercy: float
    lifespan: Literal["auto", "on", "off"]
    http: HttpOptions
    zone: tzinfo | None
    caches: Sequence[Cache]
    locks: int
    alarms: AlarmOptions
    access: AccessRules
    node_timeout: float
    spooler: SpoolerOptions
    options: Mapping[str, bytes | bool | list[bytes]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a runtime stands on, and tests replace: where it reports, what time of day it is, where its members live;
    and `chance`, which gives numbers from 0 to below 1.
    """

    journal: Journal
    wall: WallClock
    placement: Placement
    chance: Callable[[], float]


@dataclasses.dataclass(frozen=True, slots=True)
class MemberStatistics:
    """One member: signals and messages `waiting`, units `running`; units that were `done`, `failed`, or ended by
    `harakiri`; threads that were given up and still run (`stuck`).
    """

    name: str
    state: str
    waiting: int
    running: int
    done: int
    failed: int
    harakiri: int
    stuck: int


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeStatistics:
    """A snapshot of a runtime. `http` has one entry for each worker, `spools` one for each directory."""

    signals: SignalStatistics
    members: tuple[MemberStatistics, ...]
    http: tuple[HttpStatistics, ...]
    alarms: AlarmStatistics
    spools: tuple[SpoolStatistics, ...]


class Runtime:
    """A running runtime. Got from `await nursery.start(trio_uwsgi.serve, app, config)`; never made by hand.

    `addresses`, of HTTP, and `uwsgi_addresses` are the real ones: where the config says port 0, here is the port that
    was taken.
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
        self.addresses = _addresses(listeners, "http")
        self.uwsgi_addresses = _addresses(listeners, "uwsgi")
        self._roster = Roster(terms.headcount, terms.signal_queue, terms.message_queue)
        self._master = Master(
            registry, self._roster, Ticker(Schedule(terms.zone), surroundings.wall), surroundings.journal
        )
        self._services = Services(
            caches=Caches(terms.caches, surroundings.wall.now),
            locks=UserLocks(terms.locks),
            nodes=Nodes(terms.node_timeout),
            spools=Spools([self._spool(directory) for directory in terms.spooler.directories]),
            alarms=frozenset(terms.alarms.alarms),
            options=terms.options,
            master_pid=os.getpid(),
        )
        self._services.spools.pids = [os.getpid()] * terms.spooler.count
        self._calls: dict[str, Calls] = {}
        self._workers: dict[str, Worker] = {}
        self._stopping = trio.Event()
        self.ended = trio.Event()

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self.addresses) or "no address"
        return f"<Runtime on {where}: {self._roster!r}>"

    # ----- for whoever started it

    @property
    def stopping(self) -> bool:
        """Was it told to stop?"""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Stop gracefully: accept no more, let requests, handlers and waiting signals end within the mercy time, then
        return from `serve`.

        May be called again. A cancellation of `serve` is the hard stop.
        Checkpoint: never.
        """
        self._stopping.set()

    def signal(self, signum: int) -> None:
        """Raise a uwsgi signal from outside of the members; see `trio_uwsgi.uwsgi.signal`.

        Raises:
            RegistrationError: `signum` is not 0 to 255.
            SignalQueueFull: a recipient's queue is full; nobody was given it.
        Checkpoint: never.
        """
        self._master.raise_signal(signum, "the embedder")

    def mule_msg(self, message: bytes | str, mule: int = 0) -> None:
        """Queue a message for a mule from outside of the members; see `trio_uwsgi.uwsgi.mule_msg`.

        Raises:
            TypeError, MuleError, MessageQueueFull: as there.
        Checkpoint: never.
        """
        self._master.post(as_message(message), mule, "the embedder")

    async def spool(self, vars: JobVars | None = None, /, **more: object) -> bytes:
        """Queue a job from outside of the members; see `trio_uwsgi.uwsgi.spool`.

        Raises:
            TypeError, SpoolError, JobTooLarge, NoSpooler: as there.
        Checkpoint: always.
        Cancellation: nothing was queued.
        """
        request = make_request(named_vars(vars, more))
        return await self._services.spools.get(request.spooler).submit(request)

    def statistics(self) -> RuntimeStatistics:
        """How it is doing. Checkpoint: never."""
        return RuntimeStatistics(
            signals=self._master.statistics(),
            members=tuple(self._member_statistics(seat) for seat in self._roster.seats()),
            http=tuple(worker.statistics() for worker in self._workers.values()),
            alarms=self._master.alarms.statistics(),
            spools=tuple(spool.statistics() for spool in self._services.spools.all),
        )

    def _member_statistics(self, seat: Seat) -> MemberStatistics:
        calls = self._calls[seat.name]
        waiting = len(seat.signals) + len(seat.messages)
        stuck = calls.member.threads.stuck + calls.member.rpc_threads.stuck
        if seat.kind == "worker":
            stuck += self._workers[seat.name].stuck
        return MemberStatistics(
            seat.name, seat.state.value, waiting, len(seat.running), calls.done, calls.failures, calls.harakiris, stuck
        )

    def take(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Let the worker whose turn it is serve a connection over any Trio stream, which is closed at its end.

        Checkpoint: never.
        """
        self._workers[self._roster.lend("worker").name].take(stream, peer)

    # ----- the tree

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the runtime, until `stop` or a cancellation. Reports itself started when every member serves.

        Raises:
            RegistrationError: the declarations do not fit the members.
            BootError: the application's lifespan startup failed.
        """
        self._registry.open(self._terms.headcount, self._master.ticker.add, self._master.ticker.cancel)
        try:
            async with self._serving_services(), trio.open_nursery() as timers:
                timers.start_soon(self._master.run)
                async with (
                    self._living("spooler", self._spooler),
                    self._living("mule", self._mule),
                    self._lifespan(),
                    self._living("worker", self._worker),
                ):
                    await self._master.all_ready.wait()
                    task_status.started()
                    await self._stopping.wait()
                timers.cancel_scope.cancel()
        finally:
            self._registry.close()
            self.ended.set()

    @contextlib.asynccontextmanager
    async def _serving_services(self) -> AsyncIterator[None]:
        """What everything else relies on. The alarms have the mercy to do what was raised before the end."""
        member = self._member(self._master.seat)  # of the code that runs for no other: a lifespan, an alarm
        member.link, _ = direct_links(partial(self._master.obey, self._master.seat), member.inbox.obey)
        member.threads = ThreadPool(1, member.name)
        member.rpc_threads = rpc_threads(member)
        self._master.alarms = alarms = Alarms(self._terms.alarms, self._calls[member.name], self._master)
        async with trio.open_nursery() as services:
            for service in (
                member.threads.serve,
                member.rpc_threads.serve,
                self._services.caches.serve,
                self._services.nodes.serve,
                self._services.spools.serve,
            ):
                await services.start(service)
            async with trio.open_nursery() as nursery:
                await nursery.start(alarms.serve)
                yield
                nursery.cancel_scope.deadline = trio.current_time() + self._terms.mercy
                alarms.finish()
            services.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def _living(self, kind: Kind, life: Callable[[Seat], Life]) -> AsyncIterator[None]:
        """All members of a kind live during the body; then they have the mercy to end."""
        mercy = self._terms.mercy
        async with trio.open_nursery() as nursery:
            for seat in self._roster.seats(kind):
                nursery.start_soon(self._live, life(seat))
            yield
            nursery.cancel_scope.deadline = trio.current_time() + mercy
            for seat in self._roster.seats(kind):
                self._master.stop(seat)
            if kind == "worker":
                await self._close_listeners()
        if nursery.cancel_scope.cancelled_caught and mercy:
            logger.warning("what the %ss still ran after the mercy of %g s was cancelled", kind, mercy)

    async def _close_listeners(self) -> None:
        """As soon as no worker accepts: otherwise the kernel takes new clients, who wait for nobody and are reset."""
        for worker in self._workers.values():
            await worker.closed.wait()
        for listener in self._listeners:
            listener.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        mode = self._terms.lifespan
        if self._application.interface == "wsgi" or mode == "off":
            yield
            return
        app: AsgiApp = self._application.app  # type: ignore[assignment]  # detect_interface looked at it
        lifespan = Lifespan(app, mode, self._calls[self._master.seat.name])
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.serve)
            self._application.state.update(lifespan.state)
            yield
            await lifespan.shutdown(self._terms.mercy)  # not after a cancellation: that is a hard stop

    # ----- its members

    async def _live(self, life: Life) -> None:
        await self._surroundings.placement(self._master, life, self._terms.signal_queue)

    def _worker(self, seat: Seat) -> Life:
        member = self._member(seat)
        terms = WorkerTerms(http=self._terms.http, access=self._terms.access)
        worker = make_worker(member, self._calls[seat.name], self._application, terms, self._listeners)
        self._workers[seat.name] = worker
        return Life(seat, member, worker.serve)

    def _mule(self, seat: Seat) -> Life:
        member = self._member(seat)
        member.threads = mule_threads(member)
        member.rpc_threads = rpc_threads(member)
        return Life(seat, member, partial(serve_mule, member, self._calls[seat.name]))

    def _spooler(self, seat: Seat) -> Life:
        member = self._member(seat)
        member.threads = spooler_threads(member)
        member.rpc_threads = rpc_threads(member)
        spool = self._services.spools.all[(seat.number - 1) // self._terms.spooler.processes]
        return Life(seat, member, partial(serve_spooler, member, self._calls[seat.name], spool))

    def _spool(self, directory: str) -> Spool:
        options = self._terms.spooler
        retry = Retry(options.max_tries, options.retry, options.retry_longest)
        wall = self._surroundings.wall
        terms = SpoolTerms(
            frequency=options.frequency, retry=retry, fsync=options.fsync, chance=self._surroundings.chance
        )
        return Spool(SpoolFolder(directory, wall.now), terms, wall)

    def _member(self, seat: Seat) -> Member:
        wall = self._surroundings.wall
        member = Member(seat.kind, seat.number, self._registry, self._surroundings.journal, wall.now)
        limits = {"mule": self._terms.mule_harakiri, "spooler": self._terms.spooler.harakiri}
        self._calls[seat.name] = calls = Calls(member, limits.get(seat.kind, self._terms.harakiri))
        member.services = self._services
        member.inbox = Inbox(member, calls)
        member.timers = MemberTimers(member, self._terms.zone, wall)
        return member


def _addresses(listeners: Sequence[Listener], protocol: str) -> tuple[Address, ...]:
    return tuple(listener.address for listener in listeners if listener.protocol == protocol)
