"""Run a member in its own process, from the call by the zygote's child to its end.

The zygote (`zygote.py`) forked the process, with the application imported. The member is the same as in a task; but its
link to the master is a socket, and what members share is in shared memory, or requested from the master. When the link
ends, the master has ended or wants this process to end: everything is cancelled.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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
from trio_uwsgi._locks.remote import RemoteLocks
from trio_uwsgi._process.child_main import set_posix_signals
from trio_uwsgi._process.forced_exit import bounded_end, failures_reported
from trio_uwsgi._process.heartbeat_loop import HeartbeatLoop
from trio_uwsgi._process.member_setup import MemberEnvironment, Setup, import_phase, open_scoreboard
from trio_uwsgi._process.zygote import application
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi._runtime.member_factory import MemberFactory
from trio_uwsgi._runtime.member_instance import MemberInstance
from trio_uwsgi._runtime.placement import in_task
from trio_uwsgi._runtime.settings import Environment, Shared
from trio_uwsgi._runtime.slots import Slot
from trio_uwsgi._runtime.worker import Application
from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi._system.byte_locks import open_byte_locks
from trio_uwsgi._system.interpreter_exit import AFTER_A_FAILURE
from trio_uwsgi._system.process_titles import set_title
from trio_uwsgi._system.standard_streams import standard_error
from trio_uwsgi._units.heartbeat import Heartbeat
from trio_uwsgi._units.journal import only_error
from trio_uwsgi._units.log_handler import set_up_logging
from trio_uwsgi.errors import BootError, ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.inbox import Inbox
    from trio_uwsgi._signals.timer import Timer
    from trio_uwsgi._units.member import Member

__all__ = ["CANNOT_START", "main", "prepare"]

logger = logging.getLogger("trio_uwsgi")

# The exit code of a member whose application cannot start.
CANNOT_START = 4
# Seconds before the end of the mercy at which the interpreter's shutdown is cut short; at most half of the mercy.
_EXIT_MARGIN = 0.15
# Seconds in which a master that got SIGTERM too has announced its stop, even if the machine is busy.
_STOP_ANNOUNCED = 1.0


def prepare(setup: Any) -> None:
    """In a zygote, before the application is imported: log as the master does."""
    set_up_logging(setup["level"], setup["format"], standard_error())


def main(
    descriptors: list[int],
    setup: str,
    registry: Registry,
    member_environment: MemberEnvironment = MemberEnvironment(),  # noqa: B008  # frozen
) -> float:
    """Run the member. The process ends when this returns, within the seconds that this returns."""
    settings = Setup.from_json(setup)
    set_title(f"{settings.kind} {settings.number}")
    process = _Process(descriptors, settings, registry, member_environment)
    if settings.lazy:
        process.import_application()
    with failures_reported():
        exit_seconds: float | None = trio.run(process.run, clock=member_environment.clock)
    if exit_seconds is None:
        raise SystemExit(CANNOT_START)
    return exit_seconds


class _Process:
    """The parts of `main`. `failure` says why the application could not be imported, and `sent` is what its import has
    sent to the master.
    """

    def __init__(
        self, descriptors: list[int], setup: Setup, registry: Registry, member_environment: MemberEnvironment
    ) -> None:
        self._setup = setup
        self._registry = registry
        self._member_environment = member_environment
        ctl, memory, *rest = descriptors
        self._line, sockets = (rest[0], rest[1:]) if setup.lazy else (-1, rest)
        self._ctl, self._sockets = ctl, sockets
        self._scoreboard = open_scoreboard(memory, setup)
        self._failure: BootError | None = None
        self._sent: Sequence[Frame] = ()

    def import_application(self) -> None:
        """Import the application outside of Trio, because it may run a loop of its own. A failure is reported later."""
        setup = self._setup
        phase = import_phase(
            setup, self._registry, self._member_environment, self._scoreboard, self._line, (setup.kind, setup.number)
        )
        try:
            with phase:
                application()
        except BootError as error:
            self._failure = error
            return
        self._sent = phase.sent
        set_posix_signals()  # the import may have set others

    async def run(self) -> float | None:
        """Run the member; gives the seconds for the interpreter's shutdown, None if the member could not start."""
        setup = self._setup
        inherited = _Inherited.of(self._ctl, self._scoreboard, self._sockets, setup)
        process = _MemberProcess(setup, self._registry, self._member_environment, inherited)
        with bounded_end(setup.settings.mercy, lambda: 1) as bound:
            await process.run(self._failure, self._sent, bound)
        return None if process.failed else process.seconds_left()


class _Inherited(NamedTuple):
    """The descriptors that the process inherits, as objects."""

    stream: trio.SocketStream
    scoreboard: Scoreboard
    listeners: list[Listener]

    @classmethod
    def of(cls, ctl: int, scoreboard: Scoreboard, sockets: Sequence[int], setup: Setup) -> _Inherited:
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
        row = setup.rows[setup.row]
        self._row = scoreboard.rows[row]
        kernel = open_byte_locks(scoreboard.descriptor, scoreboard.locks)
        self._locks = RemoteLocks(setup.settings.locks, scoreboard, self._send, kernel, row)
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

    async def run(self, failure: BootError | None, sent: Sequence[Frame], bound: Callable[[], Awaitable[None]]) -> None:
        """Run the member until it has to stop, or the link ends. With a failure only report that. `sent` is for the
        master, from the import.
        """
        async with trio.open_nursery() as nursery:
            self._everything = nursery.cancel_scope
            nursery.start_soon(bound)
            nursery.start_soon(self._run_link)
            try:
                if failure is not None:
                    raise failure
                await self._run_member(sent)
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

    async def _run_member(self, sent: Sequence[Frame]) -> None:
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
            services.start_soon(self._send_when_in_force, sent)
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

    async def _send_when_in_force(self, sent: Sequence[Frame]) -> None:
        """Send what the import has sent, once the declarations of its code are in force."""
        await self._member.inbox.holds_slot.wait()
        for frame in sent:
            self._send(frame)

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
