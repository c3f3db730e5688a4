"""Run a member in its own process, from the call by the zygote's child to its end.

The zygote (`zygote.py`) forked the process, with the application imported. The member is the same as in a task; but its
link to the master is a socket, and what members share is in shared memory, or requested from the master. When the link
ends, the master has ended or wants this process to end: everything is cancelled.
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
from trio_uwsgi._http.certificates import ServerTls
from trio_uwsgi._http.listeners import Listener
from trio_uwsgi._link.frames import (
    AddFileMonitor,
    AreaChanged,
    BootFailed,
    Declared,
    Frame,
    Granted,
    Register,
    ReplaceMe,
    SpoolerFrequency,
)
from trio_uwsgi._link.link import StreamLink
from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._locks.remote import RemoteLocks
from trio_uwsgi._process.child_main import set_posix_signals
from trio_uwsgi._process.forced_exit import bounded_end, failures_reported
from trio_uwsgi._process.heartbeat_loop import HeartbeatLoop, beat
from trio_uwsgi._process.zygote import application
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi._runtime.member_factory import MemberFactory
from trio_uwsgi._runtime.member_instance import MemberInstance
from trio_uwsgi._runtime.placement import in_task
from trio_uwsgi._runtime.settings import Environment, Settings, Shared
from trio_uwsgi._runtime.slots import Slot
from trio_uwsgi._runtime.worker import Application
from trio_uwsgi._shared_areas.rules import memory_size
from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi._signals.ticker import WallClock
from trio_uwsgi._system.interpreter_exit import AFTER_A_FAILURE
from trio_uwsgi._system.process_titles import set_title
from trio_uwsgi._system.standard_streams import standard_error
from trio_uwsgi._units.heartbeat import Heartbeat
from trio_uwsgi._units.journal import Journal, LoggingJournal, only_error
from trio_uwsgi._units.log_handler import set_up_logging
from trio_uwsgi.errors import BootError, ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._http.certificates import Certificates
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.inbox import Inbox
    from trio_uwsgi._signals.timer import Timer
    from trio_uwsgi._units.unit import Member

__all__ = ["CANNOT_START", "MemberEnvironment", "Setup", "main", "prepare"]

logger = logging.getLogger("trio_uwsgi")

# The exit code of a member whose application cannot start.
CANNOT_START = 4
# Seconds before the end of the mercy at which the interpreter's shutdown is cut short; at most half of the mercy.
_EXIT_MARGIN = 0.15
# Seconds in which a master that got SIGTERM too has announced its stop, even if the machine is busy.
_STOP_ANNOUNCED = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings of a member's process. `rows` are the scoreboard's rows of all members, by name, and `row` is the
    name of this one's. `protocols` and `certificates` are those of the listeners. `replacement`: another instance holds
    the slot. `lazy`: this process has to import the application.
    """

    kind: Literal["worker", "mule", "spooler"]
    number: int
    row: str
    replacement: bool
    rows: Mapping[str, int]
    settings: Settings
    interface: Literal["auto", "wsgi", "asgi"]
    threads: int
    lazy: bool
    protocols: Sequence[Literal["http", "uwsgi"]]
    certificates: Sequence[Certificates | None]
    caches: str
    master_pid: int

    def to_json(self) -> str:
        """As a JSON value. Pickle is safe: the socket connects only processes of this server."""
        return base64.b64encode(pickle.dumps(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """The reverse of `to_json`."""
        setup = pickle.loads(base64.b64decode(text))
        assert isinstance(setup, cls)
        return setup


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberEnvironment:
    """What tests replace in a member's process: as in `Environment`, and the clock of its event loop (None: the
    system's), and the task that repeats the heartbeat.
    """

    journal: Journal = dataclasses.field(default_factory=LoggingJournal)
    wall: WallClock = dataclasses.field(default_factory=lambda: WallClock(time.time))
    chance: Callable[[], float] = random.SystemRandom().random  # the application may seed the shared generator
    clock: trio.abc.Clock | None = None
    run_heartbeat: Callable[[HeartbeatLoop], Awaitable[None]] = beat


def prepare(setup: Any) -> None:
    """In a zygote, before the application is imported: log as the master does."""
    set_up_logging(setup["level"], setup["format"], standard_error())


def main(
    descriptors: list[int], setup: str, registry: Registry, member_environment: MemberEnvironment = MemberEnvironment()
) -> float:
    """Run the member. The process ends when this returns, within the seconds that this returns."""
    settings = Setup.from_json(setup)
    set_title(f"{settings.kind} {settings.number}")
    failure = _import() if settings.lazy else None
    with failures_reported():
        exit_seconds: float | None = trio.run(
            _run, descriptors, settings, registry, member_environment, failure, clock=member_environment.clock
        )
    if exit_seconds is None:
        raise SystemExit(CANNOT_START)
    return exit_seconds


def _import() -> BootError | None:
    """Import the application outside of Trio, because it may run a loop of its own. A failure is reported later."""
    try:
        application()
    except BootError as error:
        return error
    set_posix_signals()  # the import may have set others
    return None


async def _run(
    descriptors: list[int],
    setup: Setup,
    registry: Registry,
    member_environment: MemberEnvironment,
    failure: BootError | None,
) -> float | None:
    """Run the member; returns the seconds for the interpreter's shutdown, None if the member could not start."""
    process = _MemberProcess(setup, registry, member_environment, _Inherited.of(descriptors, setup))
    with bounded_end(setup.settings.mercy, lambda: 1) as bound:
        await process.run(failure, bound)
    return None if process.failed else process.seconds_left()


class _Inherited(NamedTuple):
    """The descriptors that the process inherits, as objects."""

    stream: trio.SocketStream
    scoreboard: Scoreboard
    listeners: list[Listener]

    @classmethod
    def of(cls, descriptors: list[int], setup: Setup) -> _Inherited:
        ctl, memory, *sockets = descriptors
        settings = setup.settings
        areas = [memory_size(size) for size in settings.areas]
        scoreboard = Scoreboard(memory, len(setup.rows), settings.locks + 1, areas)
        listeners = []
        for descriptor, protocol, read in zip(sockets, setup.protocols, setup.certificates, strict=True):
            listener = Listener(socket.socket(fileno=descriptor))
            listener.protocol = protocol
            listener.tls = None if read is None else ServerTls(read)
            listeners.append(listener)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=ctl)))
        return cls(stream, scoreboard, listeners)


class _MemberProcess:
    """One member's process."""

    def __init__(
        self, setup: Setup, registry: Registry, member_environment: MemberEnvironment, inherited: _Inherited
    ) -> None:
        self.failed = False
        self._registry = registry
        self._setup = setup
        self._run_heartbeat = member_environment.run_heartbeat
        scoreboard = inherited.scoreboard
        self._row = scoreboard.rows[setup.rows[setup.row]]
        self._locks = RemoteLocks(setup.settings.locks, scoreboard, self._send)
        self._link = StreamLink(inherited.stream, self._handle, setup.settings.signal_queue)
        self._member: Member
        self._everything: trio.CancelScope
        self._inbox: Inbox | None = None
        self._environment = Environment(
            journal=member_environment.journal,
            wall=member_environment.wall,
            placement=in_task,
            chance=member_environment.chance,
            listeners=inherited.listeners,
            shared=Shared(
                scoreboard=scoreboard,
                rows=setup.rows,
                mine=setup.row,
                caches=setup.caches,
                locks=self._locks,
                master_pid=setup.master_pid,
            ),
        )

    def _send(self, frame: Frame) -> None:
        self._link.send(frame)

    def _handle(self, frame: Frame) -> None:
        if isinstance(frame, Granted):
            self._locks.granted(frame.number, frame.ident)
        elif isinstance(frame, AreaChanged):
            self._member.services.areas.changed(frame.number)
        elif isinstance(frame, SpoolerFrequency):
            self._member.services.spools.apply_frequency(frame.seconds)
        else:
            self._member.inbox.obey(frame)

    def seconds_left(self) -> float:
        """The rest of the mercy, for the interpreter's shutdown. It is a little less, because the master kills the
        process at the end of the mercy, and this process is to log before that what it waited for.
        """
        if (
            self._inbox is None or self._inbox.stop_requested_at == math.inf
        ):  # it was not asked to stop, or the master has ended
            return AFTER_A_FAILURE
        return max(self._inbox.deadline(_EXIT_MARGIN) - trio.current_time(), 0.05)

    async def run(self, failure: BootError | None, bound: Callable[[], Awaitable[None]]) -> None:
        """Run the member until it has to stop, or the link ends. With a failure only report that."""
        async with trio.open_nursery() as nursery:
            self._everything = nursery.cancel_scope
            nursery.start_soon(bound)
            nursery.start_soon(self._run_link)
            try:
                if failure is not None:
                    raise failure
                await self._run_member()
            except* (BootError, ConfigError) as group:
                error = only_error(group)
                self.failed = True
                cause = "" if error.__cause__ is None else "".join(traceback.format_exception(error.__cause__))
                self._send(BootFailed(str(error), cause))
            self._link.finish()

    async def _run_link(self) -> None:
        await self._link.run()
        self._everything.cancel()

    def _arm(self, declared: Timer | FileMonitor) -> None:
        """Have the master arm what the application declares while this member runs."""
        if isinstance(declared, FileMonitor):
            self._send(AddFileMonitor(declared.signum, declared.path))
        else:
            self._member.timers.add(declared)

    async def _run_member(self) -> None:
        setup = self._setup
        member_factory = MemberFactory(self._application(), self._registry, setup.settings, self._environment)
        if setup.lazy:
            self._send(Declared(describe(self._registry)))
        self._registry._join(
            setup.settings.headcount,
            lambda signal: self._send(Register(signal.signum, signal.target.text)),
            self._arm,
            lambda timer: self._member.timers.cancel(timer),
        )
        member_task = member_factory.make_member(
            MemberInstance(Slot(setup.kind, setup.number), replacement=setup.replacement)
        )
        self._member = member = member_task.member
        self._inbox = member.inbox
        member.link = self._link
        member_factory.services.areas.announce = lambda number: self._send(AreaChanged(number))
        member_factory.services.spools.send_frequency = lambda seconds: self._send(SpoolerFrequency(seconds))
        member.heartbeat = Heartbeat(self._row)
        async with trio.open_nursery() as services:
            services.start_soon(self._run_heartbeat, HeartbeatLoop(self._row, member_factory, member))
            services.start_soon(self._obey_sigterm)
            await services.start(member_factory.services.caches.serve)
            await services.start(member_factory.services.queue.serve)
            await services.start(member_factory.services.metrics.serve)
            await services.start(member_factory.services.nodes.serve)
            if setup.kind == "spooler":
                await services.start(member_factory.spool_of(member).serve)
            async with self._lifespan(member_factory, member):
                await member_task.body()
            services.cancel_scope.cancel()

    def _application(self) -> Application:
        setup = self._setup
        app = application()
        interface = interface_of(app, setup.interface, setup.settings.lifespan)
        return Application(
            app,
            interface,
            setup.threads,
            multithread=setup.threads > 1,
            multiprocess=True,  # also with one worker: a reload runs two at once, and workers can be added
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, member_factory: MemberFactory, member: Member) -> AsyncIterator[None]:
        mode = self._setup.settings.lifespan
        application = member_factory.application
        if self._setup.kind != "worker" or application.interface == "wsgi" or mode == "off":
            yield
            return
        lifespan = Lifespan(application.app, mode, member_factory.calls[member.name])  # type: ignore[arg-type]  # it was detected
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.serve)
            application.state.update(lifespan.state)
            yield
            # Before the master cancels this process at the end of the mercy, so that what hangs is logged.
            await lifespan.shutdown(max(member.inbox.deadline(_EXIT_MARGIN) - trio.current_time(), 0))

    async def _obey_sigterm(self) -> None:
        """On SIGTERM, ask the master for a replacement, and drain when that serves. A second one cancels everything:
        the process ends at once, and a spooler keeps its job.
        """
        with trio.open_signal_receiver(signal.SIGTERM) as received:
            async with trio.open_nursery() as nursery:
                await anext(received)
                nursery.start_soon(self._ask_for_replacement)
                await anext(received)
                self._everything.cancel()

    async def _ask_for_replacement(self) -> None:
        """If every process got the signal (`timeout` and service managers may do that), the master stops, too."""
        with trio.move_on_after(_STOP_ANNOUNCED):
            await self._member.inbox.stop_announced.wait()
            return
        self._send(ReplaceMe("it got SIGTERM"))
