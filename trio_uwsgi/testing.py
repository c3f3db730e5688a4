"""Runs an application with the whole runtime inside of a test, on the test's clock.

    @uwsgi.timer(60)                                          # in the application; `report.signum` is its number
    async def report(signum): ...

    async def test_an_hour_of_reports(autojump_clock):        # pytest-trio, with `trio_mode = true`
        async with open_runtime(app, Config(harakiri=5)) as runtime:
            response = await runtime.client.get("/")          # real HTTP bytes over memory streams
            await trio.sleep(3600)                            # an hour, at once
            assert runtime.log.count(f"signal {report.signum}") == 60

The log has events such as `signal 17`, `message 3 bytes`, `request GET /slow harakiri` and `alarm disk`; print
`runtime.log` to see them all.

The runtime is the one that serves in production, with four differences: no socket is opened, the time of day moves with
Trio's clock, events are kept in a log, and an exception in user code fails the test. On a mock clock, time stands still
while a thread runs user code, so WSGI applications and `def` handlers are deterministic too.

`Config(placement="process")` runs each member (worker, mule or spooler) in its own process, as in production, and still
on the test's clock. The processes are forked from the test, so handlers and applications may be closures. They have
copies of the test's objects, made when the runtime was opened, and the test does not see what they change. Events, log
records and exceptions in user code reach the test by themselves; use `Notes`, a list that members can append to, for
anything else. Do not use processes in a test that has started threads before, because a fork would copy their locks.

`import trio_uwsgi` does not import this module. The client needs httpx: `pip install trio-uwsgi[testing]`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import trio
import trio.testing

from trio_uwsgi._http.peer import Peer
from trio_uwsgi._runtime.configured import settings_of
from trio_uwsgi._runtime.placement import in_task, over_memory
from trio_uwsgi._runtime.settings import Environment
from trio_uwsgi._signals.ticker import WallClock, time_of_day
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._testing.notes import Notes
from trio_uwsgi._testing.tasks import MemoryStream, TaskMemberAccess
from trio_uwsgi._testing.websocket_client import WebSocketClient, WebSocketClosed, WebSocketDenied, open_websocket
from trio_uwsgi._units.journal import Event, LoggingJournal, only_error
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.config import Config
from trio_uwsgi.config.process import ProcessOptions
from trio_uwsgi.serve import _serve_in
from trio_uwsgi.uwsgi._base import default_registry

if TYPE_CHECKING:
    import httpx

    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi._testing.processes import ProcessMemberAccess

__all__ = [
    "Event",
    "EventLog",
    "Notes",
    "RuntimeUnderTest",
    "WebSocketClient",
    "WebSocketClosed",
    "WebSocketDenied",
    "open_runtime",
]

Connection = MemoryStream | trio.SocketStream

_NO_SOCKETS: dict[str, Any] = {  # Any: each field has its own type
    field: getattr(Config(http=()), field)
    for field in ("http", "https", "socket", "stats", "stats_http", "chmod_socket")
}
# The process belongs to the test.
_EMBEDDED: dict[str, Any] = {  # Any: each field has its own type
    field.name: getattr(Config(), field.name) for field in dataclasses.fields(ProcessOptions)
}
_BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)  # a Monday


class EventLog:
    """The events of a runtime: immutable `Event` values, in a deterministic order.

    Iterate over it, take its `len()`, compare it with a list, or print it. Trio runs tasks that wake at the same
    instant in random order, so the log sorts events of one instant by member, then by kind of work (the first word of
    `what`). Events of one kind keep the order in which they happened. Two runs of the same test have equal logs, unless
    its own tasks or threads race at one instant.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.catch_up: Callable[[], None] = _nothing  # fetches the events of other processes

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
        """Add an event, for example one of the test itself."""
        self._events.append(event)

    def count(self, what: str, member: str | None = None) -> int:
        """Count the events whose `what` is equal to this, of one member or of all."""
        self.catch_up()
        return sum(event.what == what and member in (None, event.member) for event in self._events)

    def times(self, what: str, member: str | None = None) -> list[float]:
        """List the times of the events that `count` counts, in order, in seconds since the runtime started."""
        self.catch_up()
        return sorted(event.time for event in self._events if event.what == what and member in (None, event.member))


def _nothing() -> None:
    pass


class _RememberingJournal(LoggingJournal):
    """Keeps every event in the log, and lets exceptions in user code fail the test, unless they are allowed."""

    remembers = True

    def __init__(self, log: EventLog, *, allow_failures: bool) -> None:
        self._log = log
        self._allow_failures = allow_failures
        self.failure: BaseException | None = None  # the first, unless failures are allowed
        self._began = trio.current_time()

    def remember(self, event: Event) -> None:
        """Add an event of another process."""
        self._log.append(event)

    def note(self, member: str, what: str) -> None:
        # Rounded to tens of microseconds: times that come from the wall clock are exact to one microsecond, and the
        # test acts up to one microsecond later (`_let_the_runtime_be_first`).
        self._log.append(Event(round(trio.current_time() - self._began, 5), member, what))

    def failed(self, member: str, what: str, error: BaseException) -> None:
        super().failed(member, what, error)
        if not self._allow_failures:
            self.failure = self.failure or error
            raise error

    def failed_elsewhere(self, members: ProcessMemberAccess, error: BaseException) -> None:
        """Note an exception of user code in another process, which has logged it there."""
        if not self._allow_failures:
            self.failure = self.failure or error
            members.fail(self.failure)


class RuntimeUnderTest:
    """A runtime in a test, from `open_runtime`.

    Attributes:
        client: an `httpx.AsyncClient` whose requests go to the application.
        log: the events so far, an `EventLog`.
        runtime: the `Runtime` itself.
        signal, mule_msg, farm_msg, spool, statistics, stop: these methods of the `Runtime`.
    """

    def __init__(self, tree: NurseryTree, client: httpx.AsyncClient, log: EventLog, members: _MemberAccess) -> None:
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
        """Open a connection to a worker, for tests that speak its protocol by hand. The test closes it.

        Args:
            protocol: the protocol that the worker expects on it.
        Returns:
            A Trio stream.
        Checkpoint: never.
        """
        return self._members.connect(self._tree, _peer(next(self._ports), protocol))[0]

    def websocket(
        self,
        path: str,
        *,
        subprotocols: Iterable[str] = (),
        headers: Iterable[tuple[bytes, bytes]] = (),
        deflate: bool = False,
    ) -> contextlib.AbstractAsyncContextManager[WebSocketClient]:
        """Open a WebSocket to a worker while the body runs, as `async with runtime.websocket("/chat") as ws`.

        Args:
            path: path and query, as in `/chat?room=1`.
            subprotocols: those that the client speaks.
            headers: more headers of the handshake.
            deflate: offer compression.
        Yields:
            A `WebSocketClient` with `send`, `receive` and `close`. It is closed with code 1000 at the end, if it is
            open then.
        Raises:
            WebSocketDenied: the application did not accept it.
        Checkpoint: always.
        Cancellation: the connection is closed at once.
        """
        return open_websocket(
            self.connect, path, host="testserver", subprotocols=subprotocols, headers=headers, deflate=deflate
        )

    def kill(self, member: str) -> None:
        """Kill a member, as `kill -9` of its process does.

        What the member runs is lost; for a job that is a failed attempt. The runtime then starts a replacement, after a
        pause if the member had run for a short time only.

        Where members are processes, the process gets SIGKILL. Where they are tasks, the member is cancelled, so its
        `finally` blocks still run; the runtime drops what they send. If a test kills two members at one instant, the
        runtime may notice either first.

        Args:
            member: the name of the member, such as `"mule1"`.
        Raises:
            LookupError: no member of this name is running.
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
    """Run an application with its signals, mules and spoolers while the body runs, then stop gracefully.

    Args:
        app: the application, ASGI or WSGI; None answers every request with 404.
        config: the options. Addresses, `Config.lazy_apps` and options of the process (`Config.pidfile`, `Config.uid`
            and so on) have no effect: the runtime listens on no socket. The client's bytes go through memory, or
            through a pair of sockets where workers are processes.
        registry: the declarations; without it the default registry, `uwsgi.registry`.
        begin: the time of day at which the runtime starts, with a time zone.
        allow_failures: treat exceptions in user code as in production: they are logged and counted. By default the
            first one ends the runtime and is raised here.
    Yields:
        The runtime, with its client and its log.
    Raises:
        Exception: the first exception in user code, unless `allow_failures` is True.
        ConfigError, RegistrationError, BootError: as `serve`.
        ModuleNotFoundError: httpx is not installed.
    Checkpoint: always, on entry and on exit.
    Cancellation: an immediate stop, as of `serve`.
    Example:
        async with open_runtime(app, Config(mules=1)) as runtime:
            response = await runtime.client.get("/")
            runtime.signal(17)
    """
    _require_httpx()
    log = EventLog()
    journal = _RememberingJournal(log, allow_failures=allow_failures)
    application = _not_found if app is None else app
    declarations = registry or default_registry()
    quiet = dataclasses.replace(config, lazy_apps=False, **_NO_SOCKETS, **_EMBEDDED)
    try:
        async with _open_members(application, quiet, declarations, begin, journal) as members:
            log.catch_up = members.catch_up
            async with trio.open_nursery() as nursery:
                serve = partial(_serve_in, members.environment, application, quiet, declarations)
                tree: NurseryTree = await nursery.start(serve)
                async with _open_client(members, tree) as client:
                    await members.wait_until_idle()
                    _let_the_runtime_be_first()
                    yield RuntimeUnderTest(tree, client, log, members)
                tree.stopping.set()
    except BaseExceptionGroup as group:
        # If the test's body has raised as well, because its request failed for example, that error is in the context.
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
        message = "trio_uwsgi.testing needs httpx, which is not installed; pip install 'trio-uwsgi[testing]'"
        raise ModuleNotFoundError(message, name="httpx") from None


class _MemberAccess(Protocol):
    """How a test reaches the members of its runtime."""

    environment: Environment

    def connect(self, tree: NurseryTree, peer: Peer) -> tuple[Connection, Callable[[], bool]]:
        """Connect to a worker: the connection, and a function that says whether the worker has closed it."""

    def kill(self, name: str) -> None: ...

    def catch_up(self) -> None:
        """Fetch the events up to now."""

    async def wait_until_idle(self) -> None:
        """Wait until nothing more happens at this instant."""


@contextlib.asynccontextmanager
async def _open_members(
    app: object, config: Config, registry: Registry, begin: datetime.datetime, journal: _RememberingJournal
) -> AsyncIterator[_MemberAccess]:
    clock = trio.lowlevel.current_clock()  # looked up here, because threads that use caches ask for the time too
    began, posix = trio.current_time(), begin.timestamp()

    def environment(settle: Callable[[], Awaitable[None]]) -> Environment:
        wall = WallClock(lambda: time_of_day(posix, clock.current_time() - began), steady=True, let_others_run=settle)
        placement = over_memory if config.placement == "memory" else in_task
        return Environment(journal=journal, wall=wall, placement=placement, chance=random.Random(0).random)

    if config.placement != "process":
        with hold_clock():
            yield TaskMemberAccess(environment(trio.testing.wait_all_tasks_blocked))
        return
    from trio_uwsgi._testing.members import InheritedState
    from trio_uwsgi._testing.processes import open_process_members, served_by_members

    async with open_process_members() as members:
        inherited = InheritedState(
            app=app,
            registry=registry,
            event_buffer=members.event_buffer,
            address=members.process_table.address,
            clock=members.clock,
            began=(began, posix),
            facts=Facts.of(config, os.getpid(), posix) if config.compat else None,
        )
        members.on_event = journal.remember
        members.on_failure = partial(journal.failed_elsewhere, members)
        members.environment = dataclasses.replace(
            environment(members.wait_until_idle), launcher=members.launcher(inherited)
        )
        with served_by_members(registry, settings_of(config).headcount):
            yield members


def _let_the_runtime_be_first() -> None:
    """Move the clock on by a moment, so that the runtime's timers fire before the test's own sleeps end.

    A timer of 60 s and the test's own `trio.sleep(60)` would wake at one instant, in random order. With the moment, the
    timer comes first. The moment is longer than a step of POSIX time in a float, by which a cron may be late. It is
    shorter than half a microsecond, so a test that computes the time of day from its own start sees a cron at its
    minute and not just before.
    """
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, trio.testing.MockClock):
        clock.jump(4e-7)


async def _not_found(scope: dict[str, object], receive: object, send: object) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]


def _peer(port: int, protocol: Literal["http", "uwsgi"] = "http") -> Peer:
    return Peer(client=("127.0.0.1", port), server=("testserver", 80), scheme="http", protocol=protocol)


def _open_client(members: _MemberAccess, tree: NurseryTree) -> httpx.AsyncClient:
    import httpx

    from trio_uwsgi._testing.memory_client import MemoryTransport

    async def finish(response: httpx.Response) -> None:
        # Wait for what the worker does after the response, such as counting it in the statistics.
        await members.wait_until_idle()

    ports = itertools.count(32768)
    # No timeout: on a mock clock httpx's default of 5 s would pass while a handler sleeps.
    return httpx.AsyncClient(
        transport=MemoryTransport(lambda: members.connect(tree, _peer(next(ports)))),
        base_url="http://testserver",
        timeout=None,
        event_hooks={"response": [finish]},
    )
