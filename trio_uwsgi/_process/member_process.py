"""A member in a process of its own, from its first line to its last.

The process was made by a zygote (`zygote.py`) and has the application imported. What runs in it is the same member as
in a task: its link leads through a socket, and what all members share is in memory that all have, or asked of the
master. When the link ends, the master is gone or wants this process gone: everything is cancelled.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import logging
import math
import pickle
import random
import signal
import socket
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import trio

from trio_uwsgi._apps.interface import interface_of
from trio_uwsgi._apps.lifespan import Lifespan
from trio_uwsgi._http.listeners import Listener
from trio_uwsgi._link.frames import BootFailed, Declared, Frame, Granted, Register, Relieve, SpoolerFrequency
from trio_uwsgi._link.link import StreamLink
from trio_uwsgi._link.scoreboard import Board
from trio_uwsgi._locks.remote import RemoteLocks
from trio_uwsgi._process.child_main import own_posix_signals
from trio_uwsgi._process.forced_exit import bounded_end, failures_reported
from trio_uwsgi._process.heartbeat_loop import Heart, beat
from trio_uwsgi._process.zygote import application
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi._runtime.member_factory import Crew
from trio_uwsgi._runtime.member_run import Tenure
from trio_uwsgi._runtime.placement import in_task
from trio_uwsgi._runtime.settings import Shared, Surroundings, Terms
from trio_uwsgi._runtime.slots import Seat
from trio_uwsgi._runtime.worker import Application
from trio_uwsgi._signals.ticker import WallClock
from trio_uwsgi._system.interpreter_exit import AFTER_A_FAILURE
from trio_uwsgi._system.process_titles import entitle
from trio_uwsgi._units.heartbeat import VitalSigns
from trio_uwsgi._units.journal import Journal, LoggingJournal, sole
from trio_uwsgi.errors import BootError, ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.inbox import Inbox
    from trio_uwsgi._units.unit import Member

__all__ = ["CANNOT_START", "House", "Setup", "main", "prepare"]

logger = logging.getLogger("trio_uwsgi")

# The exit code of a member whose application does not start.
CANNOT_START = 4
# Seconds before the end of the mercy at which Python's own end is cut off; never more than half of the mercy.
_LEEWAY = 0.15


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a member's process is told. `rows` are those of all members on the board, by name, and `row` is the name of
    this one's; `protocols` are those of the listeners. An `heir` follows another one, which has the seat. `lazy` when
    it is the first in its process to import the application.
    """

    kind: Literal["worker", "mule", "spooler"]
    number: int
    row: str
    heir: bool
    rows: Mapping[str, int]
    terms: Terms
    interface: Literal["auto", "wsgi", "asgi"]
    threads: int
    lazy: bool
    protocols: Sequence[Literal["http", "uwsgi"]]
    caches: str
    master_pid: int

    def to_json(self) -> str:
        """As a JSON value. It travels from a process of ours to another one, over a socket that nobody else has."""
        return base64.b64encode(pickle.dumps(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """What `to_json` wrote."""
        setup = pickle.loads(base64.b64decode(text))
        assert isinstance(setup, cls)
        return setup


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a member's process stands on, and tests replace: as in `Surroundings`, and the clock of its loop (None: the
    system's), and who stays beside the member and lets its heart beat.
    """

    journal: Journal = dataclasses.field(default_factory=LoggingJournal)
    wall: WallClock = dataclasses.field(default_factory=lambda: WallClock(time.time))
    chance: Callable[[], float] = random.SystemRandom().random  # the application may seed the one that all share
    clock: trio.abc.Clock | None = None
    accompany: Callable[[Heart], Awaitable[None]] = beat


def prepare(setup: Any) -> None:
    """In a zygote, before the application is imported: log as the master does."""
    logging.basicConfig(level=setup["level"], format=setup["format"])


def main(descriptors: list[int], setup: str, registry: Registry, house: House = House()) -> float:
    """Be the member. The process ends when this returns, in as many seconds as this gives back."""
    told = Setup.from_json(setup)
    entitle(f"{told.kind} {told.number}")
    failure = _import() if told.lazy else None
    with failures_reported():
        left: float | None = trio.run(_live, descriptors, told, registry, house, failure, clock=house.clock)
    if left is None:
        raise SystemExit(CANNOT_START)
    return left


def _import() -> BootError | None:
    """Import the application here, outside of Trio, because it may run a loop of its own. The master is told later."""
    try:
        application()
    except BootError as error:
        return error
    own_posix_signals()  # importing may have set others
    return None


async def _live(
    descriptors: list[int], setup: Setup, registry: Registry, house: House, failure: BootError | None
) -> float | None:
    """Be the member; then say how long Python's own end may take, None if this one could not start."""
    process = _Process(setup, registry, house, _Inheritance.of(descriptors, setup))
    with bounded_end(setup.terms.mercy, lambda: 1) as bound:
        await process.run(failure, bound)
    return None if process.failed else process.seconds_left()


class _Inheritance(NamedTuple):
    """What came as descriptors."""

    stream: trio.SocketStream
    board: Board
    listeners: list[Listener]

    @classmethod
    def of(cls, descriptors: list[int], setup: Setup) -> _Inheritance:
        ctl, memory, *sockets = descriptors
        board = Board(memory, len(setup.rows), setup.terms.locks + 1)
        listeners = []
        for descriptor, protocol in zip(sockets, setup.protocols, strict=True):
            listener = Listener(socket.socket(fileno=descriptor))
            listener.protocol = protocol
            listeners.append(listener)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=ctl)))
        return cls(stream, board, listeners)


class _Process:
    """One member's process."""

    def __init__(self, setup: Setup, registry: Registry, house: House, inherited: _Inheritance) -> None:
        self.failed = False
        self._registry = registry
        self._setup = setup
        self._accompany = house.accompany
        board = inherited.board
        self._row = board.rows[setup.rows[setup.row]]
        self._locks = RemoteLocks(setup.terms.locks, board, self._send)
        self._link = StreamLink(inherited.stream, self._obey, setup.terms.signal_queue)
        self._member: Member
        self._inbox: Inbox | None = None
        self._surroundings = Surroundings(
            journal=house.journal,
            wall=house.wall,
            placement=in_task,
            chance=house.chance,
            listeners=inherited.listeners,
            shared=Shared(
                board=board,
                rows=setup.rows,
                mine=setup.row,
                caches=setup.caches,
                locks=self._locks,
                master_pid=setup.master_pid,
            ),
        )

    def _send(self, frame: Frame) -> None:
        self._link.send(frame)

    def _obey(self, frame: Frame) -> None:
        if isinstance(frame, Granted):
            self._locks.granted(frame.number, frame.ident)
        elif isinstance(frame, SpoolerFrequency):
            self._member.services.spools.heed_frequency(frame.seconds)
        else:
            self._member.inbox.obey(frame)

    def seconds_left(self) -> float:
        """What is left of the mercy for Python's own end, so that this process can say itself what held it up: when the
        mercy is over the master comes, who cannot know.
        """
        if self._inbox is None or self._inbox.told_at == math.inf:  # it leaves by itself, or the master has gone
            return AFTER_A_FAILURE
        mercy = self._setup.terms.mercy
        return max(self._inbox.told_at + max(mercy - _LEEWAY, mercy / 2) - trio.current_time(), 0.05)

    async def run(self, failure: BootError | None, bound: Callable[[], Awaitable[None]]) -> None:
        """Live, until told to stop, or until the link ends. With a failure, only say so."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bound)
            nursery.start_soon(self._talk, nursery.cancel_scope)
            try:
                if failure is not None:
                    raise failure
                await self._be_member()
            except* (BootError, ConfigError) as group:
                error = sole(group)
                self.failed = True
                cause = "" if error.__cause__ is None else "".join(traceback.format_exception(error.__cause__))
                self._send(BootFailed(str(error), cause))
            self._link.finish()

    async def _talk(self, everything: trio.CancelScope) -> None:
        await self._link.run()
        everything.cancel()

    async def _be_member(self) -> None:
        setup = self._setup
        crew = Crew(self._application(), self._registry, setup.terms, self._surroundings)
        if setup.lazy:
            self._send(Declared(describe(self._registry)))
        self._registry.join(
            setup.terms.headcount,
            lambda signal: self._send(Register(signal.signum, signal.target.text)),
            lambda timer: self._member.timers.add(timer),
            lambda timer: self._member.timers.cancel(timer),
        )
        life = crew.bear(Tenure(Seat(setup.kind, setup.number), heir=setup.heir))
        self._member = member = life.member
        self._inbox = member.inbox
        member.link = self._link
        crew.services.spools.tell_frequency = lambda seconds: self._send(SpoolerFrequency(seconds))
        member.vitals = VitalSigns(self._row)
        async with trio.open_nursery() as services:
            services.start_soon(self._accompany, Heart(self._row, crew, member))
            services.start_soon(_obey_sigterm, member)
            await services.start(crew.services.caches.serve)
            await services.start(crew.services.nodes.serve)
            if setup.kind == "spooler":
                await services.start(crew.spool_of(member).serve)
            async with self._lifespan(crew, member):
                await life.body()
            services.cancel_scope.cancel()

    def _application(self) -> Application:
        setup = self._setup
        app = application()
        interface = interface_of(app, setup.interface, setup.terms.lifespan)
        return Application(
            app,
            interface,
            setup.threads,
            multithread=setup.threads > 1,
            multiprocess=True,  # an only worker has another one beside it in a reload, and may get one at any time
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, crew: Crew, member: Member) -> AsyncIterator[None]:
        mode = self._setup.terms.lifespan
        application = crew.application
        if self._setup.kind != "worker" or application.interface == "wsgi" or mode == "off":
            yield
            return
        lifespan = Lifespan(application.app, mode, crew.calls[member.name])  # type: ignore[arg-type]  # it was detected
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.serve)
            application.state.update(lifespan.state)
            yield
            await lifespan.shutdown(self._setup.terms.mercy)


async def _obey_sigterm(member: Member) -> None:
    """Ask for a successor, and leave when that serves, for whoever sends it to this process, or to every process of a
    service; then the master stops, too, and nobody follows. The second one ends the process at once.
    """
    with trio.open_signal_receiver(signal.SIGTERM) as received:
        async for _ in received:
            member.link.send(Relieve("SIGTERM"))
            return
