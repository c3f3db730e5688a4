"""The whole runtime inside a test, on whatever clock the test runs.

    @uwsgi.timer(60)                                          # in the application; `report.signum` is its number
    async def report(signum): ...

    async def test_an_hour_of_reports(autojump_clock):        # pytest-trio, with `trio_mode = true`
        async with open_runtime(app, Config(harakiri=5)) as runtime:
            response = await runtime.client.get("/")          # real HTTP bytes over memory streams
            await trio.sleep(3600)                            # an hour, at once
            assert runtime.log.count(f"signal {report.signum}") == 60

What `log` has is `signal 17`, `message 3 bytes`, `request GET /slow harakiri`, `alarm disk`, and so on: print it.

Nothing is faked but the surroundings: no socket is opened, the time of day moves with Trio's clock, what happens is
remembered in a log, and user code that raises fails the test. On a mock clock, time stands still while a thread runs
user code, so that WSGI applications and `def` handlers are deterministic too.

`Config(placement="process")` has each member in a process of its own here, too, and still on the test's clock: a year
passes in seconds. The processes are forked from the test, so handlers and applications may be closures. They have
copies of what the test had when the runtime was opened: what they change there the test does not see, and a `Notes` is
the list to which they can add. Events, log records and failures come from them by themselves. Not for tests that start
threads before, whose locks a fork would copy.

Not imported by `import trio_uwsgi`. The client needs httpx: `pip install trio-uwsgi[testing]`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import trio
import trio.testing

from trio_uwsgi._http.peer import Peer
from trio_uwsgi._runtime.placement import Died, Ending, MakeMember, MemberTask, Placement, in_task, over_memory
from trio_uwsgi._runtime.settings import Environment
from trio_uwsgi._signals.ticker import WallClock, time_of_day
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._testing.notes import Notes
from trio_uwsgi._units.journal import Event, LoggingJournal, only_error
from trio_uwsgi.config import Config
from trio_uwsgi.serve import _serve_in, _settings
from trio_uwsgi.uwsgi._base import default_registry

if TYPE_CHECKING:
    import httpx

    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi._testing.processes import ProcessMembers
    from trio_uwsgi._units.unit import Member

__all__ = ["Event", "EventLog", "Notes", "RuntimeUnderTest", "open_runtime"]

MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]
Connection = MemoryStream | trio.SocketStream

_BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)  # a Monday


class EventLog:
    """What happened in a runtime: frozen `Event` values, in an order that luck has no part in.

    Trio runs tasks that wake at the same instant in random order, so events of one instant are sorted: by member, then
    by kind of work (the first word of `what`); those of one kind keep the order in which they happened. Two runs of the
    same story give equal logs, unless its own tasks or threads race at one instant, for the next free mule, say.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.catch_up: Callable[[], None] = _nothing  # gets what has happened in other processes

    def __iter__(self) -> Iterator[Event]:
        self.catch_up()
        return iter(sorted(self._events, key=lambda event: (event.time, event.member, event.what.partition(" ")[0])))

    def __len__(self) -> int:
        self.catch_up()
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, EventLog | list | tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"<EventLog: {len(self)} events>\n" + "\n".join(f"{e.time:12.3f}  {e.member:10}  {e.what}" for e in self)

    def append(self, event: Event) -> None:
        """Remember an event."""
        self._events.append(event)

    def count(self, what: str, member: str | None = None) -> int:
        """How many events say exactly this, of one member or of all."""
        self.catch_up()
        return sum(event.what == what and member in (None, event.member) for event in self._events)

    def times(self, what: str, member: str | None = None) -> list[float]:
        """When they happened, in seconds since the runtime started, in order."""
        self.catch_up()
        return sorted(event.time for event in self._events if event.what == what and member in (None, event.member))


def _nothing() -> None:
    pass


class _RememberingJournal(LoggingJournal):
    """Remembers every event, and raises what user code raised, unless failures are allowed."""

    remembers = True

    def __init__(self, log: EventLog, *, allow_failures: bool) -> None:
        self._log = log
        self._allow_failures = allow_failures
        self.failure: BaseException | None = None  # the first one that was not allowed
        self._began = trio.current_time()

    def remember(self, event: Event) -> None:
        """An event of another process."""
        self._log.append(event)

    def note(self, member: str, what: str) -> None:
        # Tens of microseconds: times that come from the wall clock are not exact beyond one, and the test is one
        # behind.
        self._log.append(Event(round(trio.current_time() - self._began, 5), member, what))

    def failed(self, member: str, what: str, error: BaseException) -> None:
        super().failed(member, what, error)
        if not self._allow_failures:
            self.failure = self.failure or error
            raise error

    def failed_elsewhere(self, members: ProcessMembers, error: BaseException) -> None:
        """What user code raised in another process, which has logged it."""
        if not self._allow_failures:
            self.failure = self.failure or error
            members.fail(self.failure)


class _KillSwitch:
    """A placement whose members can be killed."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._alive: dict[str, tuple[Member, trio.CancelScope]] = {}

    async def __call__(self, master: Master, instance: MemberInstance, make_member: MakeMember, window: int) -> Ending:
        def make_killable_member(instance: MemberInstance) -> MemberTask:
            member_task = make_member(instance)
            return MemberTask(member_task.member, partial(self._live, member_task))

        return await self._placement(master, instance, make_killable_member, window)

    async def _live(self, member_task: MemberTask) -> Ending:
        name = member_task.member.name
        with trio.CancelScope() as scope:
            self._alive[name] = member_task.member, scope
            try:
                ending = await member_task.body()
            finally:
                del self._alive[name]
        return Died("killed") if member_task.member.killed else ending

    def kill(self, name: str) -> None:
        """Have a member die now."""
        try:
            member, scope = self._alive[name]
        except KeyError:
            alive = ", ".join(sorted(self._alive))
            raise LookupError(f"{name!r} does not live; these do: {alive}") from None
        member.killed = True
        member.link.cut()
        scope.cancel()


class RuntimeUnderTest:
    """A runtime in a test: `client` speaks HTTP with it, `log` remembers what happened, `runtime` is the `Runtime`.

    `signal`, `mule_msg`, `farm_msg`, `spool`, `statistics` and `stop` are those of the `Runtime`; `kill` is below.
    """

    def __init__(self, tree: NurseryTree, client: httpx.AsyncClient, log: EventLog, members: _Members) -> None:
        self.runtime = runtime = tree.runtime
        self.client = client
        self.log = log
        self.signal = runtime.signal
        self.mule_msg = runtime.mule_msg
        self.farm_msg = runtime.farm_msg
        self.spool = runtime.spool
        self.statistics = runtime.statistics
        self.stop = runtime.stop
        self._tree = tree
        self._members = members
        self._ports = itertools.count(49152)

    def connect(self, protocol: Literal["http", "uwsgi"] = "http") -> Connection:
        """Open a connection to a worker, for tests that speak its protocol by hand. Close it when done.

        Args:
            protocol: what is spoken over it.

        Checkpoint: never.
        """
        return self._members.connect(self._tree, _peer(next(self._ports), protocol))[0]

    def kill(self, member: str) -> None:
        """Let a member die, as by `kill -9` of its process.

        What it runs is cut off, and the runtime hears nothing more of it; a job of a spooler has failed a try. Then the
        next one takes its seat, after a pause if this one died young.

        Where members are processes it is `kill -9`. Elsewhere code that is cut off still runs its `finally` blocks, as
        it must inside of one process; what it says to the runtime there goes nowhere. Of two that die at one instant
        either may be noticed first.

        Args:
            member: its name, as in `mule1`.

        Raises:
            LookupError: there is no such member, or nobody is on its seat.
        Checkpoint: never.
        """
        self._members.kill(member)


@contextlib.asynccontextmanager
async def open_runtime(
    app: object = None,
    config: Config = Config(),  # noqa: B008  # frozen
    *,
    registry: Registry | None = None,
    begin: datetime.datetime = _BEGIN,
    allow_failures: bool = False,
) -> AsyncIterator[RuntimeUnderTest]:
    """Run a runtime while the body runs, and stop it gracefully afterwards.

    Args:
        app: the application, ASGI or WSGI; None serves 404 to everything.
        config: what to run. `http` has no effect: nothing is listened on, the client's bytes go through memory, or a
            pair of sockets where workers are processes. Neither has `lazy_apps`.
        registry: the declarations; without it the default registry.
        begin: the time of day at which the runtime starts, with a time zone.
        allow_failures: let user code fail as it does in production: logged, counted, and nothing else. By default its
            first error ends the runtime and is raised here.
    Yields:
        The runtime, with its client and its log.
    Raises:
        What `trio_uwsgi.serve` raises, and what user code raised.
        ModuleNotFoundError: httpx is not installed.
    Checkpoint: always, on the way in and on the way out.
    Cancellation: the hard stop; nothing is left.
    Example:
        async with open_runtime(app, Config(mules=1)) as runtime:
            runtime.signal(17)
    """
    _require_httpx()
    log = EventLog()
    journal = _RememberingJournal(log, allow_failures=allow_failures)
    application = _nothing_here if app is None else app
    declarations = registry or default_registry()
    quiet = dataclasses.replace(config, http=(), socket=(), chmod_socket=None, lazy_apps=False)
    try:
        async with _open_members(application, quiet, declarations, begin, journal) as members:
            log.catch_up = members.catch_up
            async with trio.open_nursery() as nursery:
                serve = partial(_serve_in, members.environment, application, quiet, declarations)
                tree: NurseryTree = await nursery.start(serve)
                async with _open_client(members, tree) as client:
                    await members.settled()
                    _let_the_runtime_be_first()
                    yield RuntimeUnderTest(tree, client, log, members)
                tree.stopping.set()
    except BaseExceptionGroup as group:
        # What the test body raised besides, because its request failed, say, is in the context.
        error = journal.failure or only_error(group)
        if isinstance(error, BaseExceptionGroup):
            raise
        raise error from error.__cause__
    if journal.failure is not None:
        raise journal.failure


def _require_httpx() -> None:
    try:
        import httpx  # noqa: F401
    except ModuleNotFoundError:
        told = "the client of trio_uwsgi.testing is httpx's, which is not installed; pip install 'trio-uwsgi[testing]'"
        raise ModuleNotFoundError(told, name="httpx") from None


class _Members(Protocol):
    """Where the members of a test live, and how the test gets at them."""

    environment: Environment

    def connect(self, tree: NurseryTree, peer: Peer) -> tuple[Connection, Callable[[], bool]]:
        """A connection to a worker, and whether that has closed it."""

    def kill(self, name: str) -> None: ...

    def catch_up(self) -> None:
        """Get what has happened up to now."""

    async def settled(self) -> None:
        """Wait until nothing happens any more at this instant."""


class _TaskMembers:
    """Members are tasks."""

    def __init__(self, environment: Environment) -> None:
        self._kill_switch = _KillSwitch(environment.placement)
        self.environment = dataclasses.replace(environment, placement=self._kill_switch)
        self.kill = self._kill_switch.kill
        self.catch_up = _nothing

    def connect(self, tree: NurseryTree, peer: Peer) -> tuple[Connection, Callable[[], bool]]:
        near, far = trio.testing.memory_stream_pair()
        closed = False
        deliver_end = far.send_stream.close_hook

        def close_hook() -> None:
            nonlocal closed
            closed = True
            if deliver_end is not None:
                deliver_end()

        far.send_stream.close_hook = close_hook
        tree.runtime.take(far, peer)
        return near, lambda: closed

    async def settled(self) -> None:
        await trio.lowlevel.checkpoint()


@contextlib.asynccontextmanager
async def _open_members(
    app: object, config: Config, registry: Registry, begin: datetime.datetime, journal: _RememberingJournal
) -> AsyncIterator[_Members]:
    clock = trio.lowlevel.current_clock()  # which threads may ask, too: they use caches
    began, posix = trio.current_time(), begin.timestamp()

    def environment(settle: Callable[[], Awaitable[None]]) -> Environment:
        wall = WallClock(lambda: time_of_day(posix, clock.current_time() - began), steady=True, let_others_run=settle)
        placement = over_memory if config.placement == "memory" else in_task
        return Environment(journal=journal, wall=wall, placement=placement, chance=random.Random(0).random)

    if config.placement != "process":
        with hold_clock():
            yield _TaskMembers(environment(trio.testing.wait_all_tasks_blocked))
        return
    from trio_uwsgi._testing.members import Stage
    from trio_uwsgi._testing.processes import open_process_members, served

    async with open_process_members() as members:
        stage = Stage(
            app=app,
            registry=registry,
            event_buffer=members.event_buffer,
            address=members.process_table.address,
            clock=members.clock,
            began=(began, posix),
        )
        members.on_event = journal.remember
        members.on_failure = partial(journal.failed_elsewhere, members)
        members.environment = dataclasses.replace(environment(members.settled), launcher=members.launcher(stage))
        with served(registry, _settings(config).headcount):
            yield members


def _let_the_runtime_be_first() -> None:
    """Let the test's clock reckon from a moment after the runtime's start.

    A timer of 60 s and the test's own `trio.sleep(60)` would wake at one instant, in random order. Now the tick comes
    first. The moment is longer than a step of POSIX time in a float, by which a cron may be late, and shorter than half
    a microsecond: a test that reckons the time of day from its own start sees a cron at its minute, not just before it.
    """
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, trio.testing.MockClock):
        clock.jump(4e-7)


async def _nothing_here(scope: dict[str, object], receive: object, send: object) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]


def _peer(port: int, protocol: Literal["http", "uwsgi"] = "http") -> Peer:
    return Peer(client=("127.0.0.1", port), server=("testserver", 80), scheme="http", protocol=protocol)


def _open_client(members: _Members, tree: NurseryTree) -> httpx.AsyncClient:
    import httpx

    from trio_uwsgi._testing.memory_client import MemoryTransport

    async def settle(response: httpx.Response) -> None:
        # What its worker does behind it, its statistics say, is done when the test looks.
        await members.settled()

    ports = itertools.count(32768)
    # No time limits of its own: on a mock clock its five seconds would pass before a slow handler's thirty.
    return httpx.AsyncClient(
        transport=MemoryTransport(lambda: members.connect(tree, _peer(next(ports)))),
        base_url="http://testserver",
        timeout=None,
        event_hooks={"response": [settle]},
    )
