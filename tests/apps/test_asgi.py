"""ASGI applications: what they get, what they may send, what happens when they fail or take too long; lifespan."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._apps.interface import detect_interface
from trio_uwsgi._apps.lifespan import Lifespan
from trio_uwsgi._apps.runners import PARKED
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import BootError, ConfigError

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


async def answer(send: Any, body: bytes, **start: Any) -> None:
    await send({**START, **start})
    await send({"type": "http.response.body", "body": body})


async def test_the_scope_says_what_was_asked(open_http: Any) -> None:
    """Method, path, query, headers and the client's address, and the state that the lifespan left."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append({**scope, "state": dict(scope["state"])})
        scope["state"]["mine"] = 1
        await answer(send, b"")

    client = (await open_http(app)).connect()
    await client.get("/a%20b?c=d", "X-Y: z")
    await client.get()
    first, second = scopes
    assert ("http", "GET", "/a b", b"c=d") == (first["type"], first["method"], first["path"], first["query_string"])
    assert (b"x-y", b"z") in first["headers"]
    assert ("192.0.2.1", 4711) == tuple(first["client"])
    assert {"from": "lifespan"} == second["state"]


async def test_the_head_goes_out_with_the_first_piece(open_http: Any) -> None:
    """An application may take its time between the head and the body; nothing is sent before the body begins."""
    proceed = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await proceed.wait()
        await send({"type": "http.response.body", "body": memoryview(b"ab"), "more_body": True})
        await send({"type": "http.response.body", "body": bytearray(b"c")})

    client = (await open_http(app)).connect()
    await client.send(GET)
    await wait_all_tasks_blocked()
    proceed.set()
    assert b"abc" == (await client.response()).body


async def test_work_after_the_response_does_not_hold_the_client_up(open_http: Any, autojump_clock: Any) -> None:
    """The next request is served while the application of the one before still runs."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"")
        assert {"type": "http.disconnect"} == await receive() or scope
        await trio.sleep(10)

    world = await open_http(app)
    client = world.connect()
    await client.get()
    await client.get()
    assert 0 == trio.current_time()
    assert 2 == world.service.statistics().running
    await trio.sleep(11)
    assert 0 == world.service.statistics().running
    assert [] == world.journal.failures


async def test_receive_after_the_response_is_a_disconnect(open_http: Any) -> None:
    """Once the response is complete, receive() has nothing but http.disconnect to give."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def listen() -> None:
                seen.append((await receive())["type"])

            await wait_all_tasks_blocked()
            await answer(send, b"")
        seen.append((await receive())["type"])

    await (await open_http(app)).connect().get()
    await wait_all_tasks_blocked()
    assert ["http.disconnect", "http.disconnect"] == seen


async def test_context_variables_do_not_leak(open_http: Any) -> None:
    """What a request sets in its context is gone in the next, though both may run in one task."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = variable.get()
        variable.set("set")
        await trio.lowlevel.checkpoint()
        assert UNIT.get().what == "request GET /"
        await answer(send, f"{before} {variable.get()}".encode())

    client = (await open_http(app, strict=True)).connect()
    for _ in range(3):
        assert b"unset set" == (await client.get()).body


async def test_many_requests_at_once(open_http: Any) -> None:
    """As many requests run at once as there are clients; the tasks kept for later are bounded."""
    proceed = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await proceed.wait()
        await answer(send, b"")

    world = await open_http(app)
    clients = [world.connect() for _ in range(PARKED + 20)]
    for client in clients:
        await client.send(GET)
    await wait_all_tasks_blocked()
    assert PARKED + 20 == world.service.statistics().running
    proceed.set()
    for client in clients:
        assert 200 == (await client.response()).status
    assert PARKED == len(world.service.driver.parked)
    assert 200 == (await clients[0].get()).status


# --- failures ---------------------------------------------------------------------------------------------------------


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("mine")


async def raises_group(scope: Any, receive: Any, send: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises, scope, receive, send)


async def returns_nothing(scope: Any, receive: Any, send: Any) -> None:
    await trio.lowlevel.checkpoint()


async def only_starts(scope: Any, receive: Any, send: Any) -> None:
    await send(START)


async def starts_twice(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(START)


async def unknown_message(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.debug"})


async def text_body(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, "text")  # type: ignore[arg-type]  # that is the point


async def body_first(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b""})


async def bad_header(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"", headers=[(b"a", b"b\r\nc: d")])


async def wrong_length(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"abc", headers=[(b"content-length", b"4")])


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (raises, "ValueError: mine"),
        (raises_group, "ValueError: mine"),
        (returns_nothing, "LocalProtocolError: the application returned without sending a response"),
        (only_starts, "LocalProtocolError: the application returned without completing its response"),
        (starts_twice, "LocalProtocolError: the application sent http.response.start twice"),
        (unknown_message, "LocalProtocolError: the application sent 'http.response.debug'"),
        (text_body, "LocalProtocolError: the application sent a body of type str"),
        (body_first, "LocalProtocolError: "),
        (bad_header, "LocalProtocolError: "),
        (wrong_length, "LocalProtocolError: "),
    ],
)
async def test_a_failure_before_the_head_is_a_500(open_http: Any, app: Any, error: str) -> None:
    """An application that fails, or breaks the rules, before anything was sent gives 500 and is reported once."""
    world = await open_http(app)
    client = world.connect()
    await client.send(GET)
    assert (await client.read_all()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    (failure,) = world.journal.failures
    assert f"{type(failure).__name__}: {failure}".startswith(error)
    assert 1 == world.service.calls.failures


async def test_a_failure_after_the_head_aborts_the_connection(open_http: Any) -> None:
    """A response that has begun cannot become a 500: it ends early, and the client sees that."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await wait_all_tasks_blocked()
        raise ValueError("mine")

    world = await open_http(app)
    client = world.connect()
    await client.send(GET)
    data = await client.read_all()
    assert b"transfer-encoding: chunked" in data
    assert not data.endswith(b"0\r\n\r\n")
    assert 1 == len(world.journal.failures)


async def test_sending_after_the_end_is_refused(open_http: Any) -> None:
    """What is sent after a complete response is the application's mistake, and the client has its answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"")
        with pytest.raises(Exception, match="complete"):
            await send(START)
        with pytest.raises(Exception, match="complete"):
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    world = await open_http(app)
    client = world.connect()
    assert 200 == (await client.get()).status
    assert 200 == (await client.get()).status
    assert 2 == len(world.journal.failures)


async def test_a_failure_of_a_head_request_has_no_body(open_http: Any) -> None:
    """The 500 for HEAD ends with its head."""
    client = (await open_http(raises)).connect()
    await client.send(GET.replace(b"GET", b"HEAD"))
    assert (await client.read_all()).endswith(b"\r\n\r\n")


async def test_a_strict_journal_raises_what_failed(open_http: Any) -> None:
    """In tests a failing application fails the test; its client still gets the 500."""
    with pytest.raises(BaseExceptionGroup) as info:  # noqa: PT012 # the nursery is what raises
        async with trio.open_nursery() as nursery:
            world = await open_http(raises, strict=True, nursery=nursery)
            await world.connect().get()
    assert info.value.subgroup(lambda error: isinstance(error, ValueError) and str(error) == "mine")


# --- harakiri ---------------------------------------------------------------------------------------------------------


async def test_harakiri_ends_one_request_at_its_time(
    open_http: Any, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A request over its limit gets 504 exactly then, the log says where it was stuck, and others do not notice."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await trio.sleep(3600)  # stuck here
        await answer(send, b"fast")

    world = await open_http(app, harakiri=30)
    slow, other = world.connect(), world.connect()
    await other.get()
    await slow.send(GET.replace(b"/ ", b"/slow "))
    await trio.sleep(29)
    assert b"fast" == (await other.get()).body
    assert (504, 30) == ((await slow.response()).status, trio.current_time())
    assert 1 == world.service.calls.harakiris
    assert [] == world.journal.failures
    assert "request GET /slow harakiri" in world.journal.notes
    assert "(await trio.sleep(3600)  # stuck here)" in caplog.text
    for _ in range(3):
        assert b"fast" == (await other.get()).body


async def test_harakiri_before_its_turn(open_http: Any) -> None:
    """A request whose time is up before its turn gets its 504 without the application being called."""
    called = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await answer(send, b"")

    world = await open_http(app, harakiri=30)
    client = world.connect()
    await wait_all_tasks_blocked()
    (session,) = world.service.sessions
    session.received(GET)
    world.service.driver.cancel(session.exchange)
    assert 504 == (await client.response()).status
    assert ([], 1) == (called, world.service.calls.harakiris)
    assert 200 == (await world.connect().get()).status


async def test_harakiri_after_the_head_aborts(open_http: Any, autojump_clock: Any) -> None:
    """A response that has begun is cut off."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await trio.sleep_forever()

    world = await open_http(app, harakiri=30)
    client = world.connect()
    await client.send(GET)
    assert not (await client.read_all()).endswith(b"0\r\n\r\n")
    assert (30, 1) == (trio.current_time(), world.service.calls.harakiris)


async def test_harakiri_of_work_after_the_response(open_http: Any, autojump_clock: Any) -> None:
    """The limit holds until the application returns, also when its client was answered long ago."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")
        await trio.sleep_forever()

    world = await open_http(app, harakiri=30)
    assert b"done" == (await world.connect().get()).body
    await trio.sleep(31)
    assert (0, 1) == (world.service.statistics().running, world.service.calls.harakiris)


async def test_a_user_deadline_belongs_to_its_request(open_http: Any, autojump_clock: Any) -> None:
    """The deadline a request sets for itself ends it early, and is gone with it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/":
            UNIT.get().set_user_deadline(trio.current_time() + 5)
        await trio.sleep(6 if scope["path"] == "/late" else 1)
        if scope["path"] == "/":
            await trio.sleep(20)
        await answer(send, b"")

    world = await open_http(app, harakiri=30)
    client = world.connect()
    assert 200 == (await client.get("/early")).status
    assert 200 == (await client.get("/")).status
    assert 22 == trio.current_time()
    assert 504 == (await client.get("/late")).status
    assert 27 == trio.current_time()


async def test_an_application_that_swallows_its_cancellation(open_http: Any, autojump_clock: Any) -> None:
    """One that answers all the same at its limit is served, and the next request in its task has its own limit."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with trio.CancelScope() as scope_of_mine:
            try:
                await trio.sleep(40 if scope["path"] == "/slow" else 20)
            except trio.Cancelled:
                scope_of_mine.cancel()
                await answer(send, b"late")
                raise
        await answer(send, b"in time")

    world = await open_http(app, harakiri=30)
    client = world.connect()
    assert b"late" == (await client.get("/slow")).body
    assert b"in time" == (await client.get()).body
    assert 50 == trio.current_time()


async def test_clean_up_that_fails_at_harakiri(open_http: Any, autojump_clock: Any) -> None:
    """When an application's clean-up raises while it is cancelled, the client gets its answer and both are reported."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("clean-up")

    world = await open_http(app, harakiri=30)
    client = world.connect()
    assert (await client.get()).status in (500, 504)
    assert ["clean-up"] == [str(error) for error in world.journal.failures]


async def test_a_limit_that_was_taken_back_does_not_reach_the_next_request(open_http: Any, autojump_clock: Any) -> None:
    """A deadline that was set and cleared has no effect on the next request in the same task."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            UNIT.get().set_user_deadline(trio.current_time() + 5)
            await trio.sleep(1)
            UNIT.get().set_user_deadline(float("inf"))
        else:
            await trio.sleep(20)
        await answer(send, b"done")

    world = await open_http(app, harakiri=30)
    client = world.connect()
    assert 200 == (await client.get("/first")).status
    await trio.sleep(15)
    assert 200 == (await client.get("/second")).status
    assert 0 == world.service.calls.harakiris


async def test_a_cancelled_request_that_clears_its_limit_affects_no_other(open_http: Any, autojump_clock: Any) -> None:
    """A request that survives its own deadline and takes it back does not hand its cancelled scope on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            UNIT.get().set_user_deadline(trio.current_time() + 5)
            try:
                await trio.sleep(10)
            except trio.Cancelled:
                UNIT.get().set_user_deadline(float("inf"))
        else:
            await trio.lowlevel.checkpoint()
        await answer(send, b"done")

    client = (await open_http(app)).connect()
    assert [200, 200] == [(await client.get(path)).status for path in ("/first", "/second")]


async def test_a_task_that_outlives_its_request_cannot_limit_another(
    open_http: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    """A deadline belongs to its request and ends with it, whoever runs on the same task by then."""

    async def outlive() -> None:
        await trio.sleep(1)
        UNIT.get().set_user_deadline(trio.current_time() + 1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            nursery.start_soon(outlive)
        else:
            await trio.sleep(5)
        await answer(send, b"done")

    world = await open_http(app)
    client = world.connect()
    assert [200, 200] == [(await client.get(path)).status for path in ("/first", "/second")]
    assert 0 == world.service.calls.harakiris


async def test_the_task_has_the_context_of_the_request(open_http: Any) -> None:
    """What looks at the current task sees the request's variables, before its first wait and after it."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        variable.set(scope["path"])
        seen.append(trio.lowlevel.current_task().context.get(variable))
        await trio.lowlevel.checkpoint()
        seen.append(trio.lowlevel.current_task().context.get(variable))
        await answer(send, b"")

    client = (await open_http(app)).connect()
    await client.get("/a")
    await client.get("/b")
    assert ["/a", "/a", "/b", "/b"] == seen


# --- which interface --------------------------------------------------------------------------------------------------


def wsgi(environ: Any, start_response: Any) -> Any:
    """A WSGI function."""


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI function."""


def decorated(func: Any) -> Any:
    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        return func(*args)

    return wrapper


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class AsgiClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Any: ...


class PlainClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


def returns_coroutine(scope: Any, receive: Any, send: Any) -> Any: ...


def extended(environ: Any, start_response: Any, extra: Any = None) -> Any: ...


def extended_asgi(scope: Any, *args: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (wsgi, "wsgi"),
        (asgi, "asgi"),
        (decorated(wsgi), "wsgi"),
        (decorated(asgi), "asgi"),
        (functools.partial(asgi), "asgi"),
        (functools.partial(lambda extra, environ, start_response: [], 1), "wsgi"),
        (WsgiObject(), "wsgi"),
        (WsgiObject().method, "asgi"),
        (AsgiObject(), "asgi"),
        (AsgiClass, "asgi"),
        (WsgiClass, "wsgi"),
        (PlainClass, "wsgi"),
        (returns_coroutine, "asgi"),
        (extended, "wsgi"),
        (extended_asgi, "asgi"),
    ],
)
def test_the_interface_is_found(app: Any, interface: str) -> None:
    """Functions, objects, classes, partials and decorated ones are detected."""
    assert interface == detect_interface(app)


def test_the_interface_of_real_frameworks() -> None:
    """Flask is WSGI, Starlette is ASGI."""
    import flask
    import starlette.applications

    assert "wsgi" == detect_interface(flask.Flask("x"))
    assert "asgi" == detect_interface(starlette.applications.Starlette())


@pytest.mark.parametrize("app", [lambda *args: None, print, lambda: None, 5, object()])
def test_an_ambiguous_interface_is_refused(app: Any) -> None:
    """What could be either, or neither, is an error that says what to do."""
    with pytest.raises(ConfigError, match=r"interface=|not an application"):
        detect_interface(app)


# --- lifespan ---------------------------------------------------------------------------------------------------------


def lifespan_of(app: Any, mode: Any = "auto") -> tuple[Lifespan, list[BaseException]]:
    failures: list[BaseException] = []

    class Journal:
        remembers = False

        def note(self, member: str, what: str) -> None: ...

        def failed(self, member: str, what: str, error: BaseException) -> None:
            failures.append(error)

    member = Member("worker", 1, Registry(), Journal(), lambda: 0.0)
    return Lifespan(app, mode, Calls(member, 0)), failures


def whole_lifespan(log: list[str], *, fail: str = "", slow: float = 0) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "lifespan" == scope["type"]
        for step in ("startup", "shutdown"):
            assert f"lifespan.{step}" == (await receive())["type"]
            log.append(step)
            if step == fail:
                await send({"type": f"lifespan.{step}.failed", "message": "no database"})
                return
            scope["state"]["db"] = 1
            await trio.sleep(slow if step == "shutdown" else 0)
            await send({"type": f"lifespan.{step}.complete"})

    return app


async def test_lifespan(nursery: trio.Nursery) -> None:
    """Startup is waited for, its state is kept, shutdown comes when asked and is waited for."""
    log: list[str] = []
    lifespan, _ = lifespan_of(whole_lifespan(log), "on")
    await nursery.start(lifespan.serve)
    assert (["startup"], {"db": 1}) == (log, lifespan.state)
    await lifespan.shutdown(10)
    assert ["startup", "shutdown"] == log


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_failed_startup_is_a_boot_error(nursery: trio.Nursery, mode: str) -> None:
    """startup.failed ends the boot with the application's message, in both modes."""
    lifespan, _ = lifespan_of(whole_lifespan([], fail="startup"), mode)
    with pytest.raises(BootError, match="no database"):
        await nursery.start(lifespan.serve)


async def test_an_application_without_lifespan(nursery: trio.Nursery) -> None:
    """One that raises at once is tolerated by `auto` and refused by `on`, with its error as the cause."""
    lifespan, failures = lifespan_of(raises)
    await nursery.start(lifespan.serve)
    await lifespan.shutdown(10)
    assert [] == failures
    with pytest.raises(BootError, match="ValueError: mine") as info:
        await nursery.start(lifespan_of(raises, "on")[0].serve)
    assert isinstance(info.value.__cause__, ValueError)
    with pytest.raises(BootError, match="it returned"):
        await nursery.start(lifespan_of(returns_nothing, "on")[0].serve)


async def test_a_failed_shutdown_is_logged(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    """shutdown.failed does not stop the stop."""
    lifespan, _ = lifespan_of(whole_lifespan([], fail="shutdown"))
    await nursery.start(lifespan.serve)
    await lifespan.shutdown(10)
    await wait_all_tasks_blocked()
    assert "no database" in caplog.text


async def test_a_slow_shutdown_is_cancelled(
    nursery: trio.Nursery, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A shutdown that takes longer than allowed is cancelled and logged."""
    lifespan, _ = lifespan_of(whole_lifespan([], slow=100))
    await nursery.start(lifespan.serve)
    await lifespan.shutdown(10)
    await wait_all_tasks_blocked()
    assert 10 == trio.current_time()
    assert "longer than 10 s" in caplog.text


@pytest.mark.parametrize("error", [ConnectionError("no database"), asyncio.CancelledError("no database")])
async def test_a_startup_that_raises_is_reported(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """An application that took `lifespan.startup` and raised is served without a lifespan, as ASGI says; but a warning
    tells why.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise error

    lifespan, failures = lifespan_of(app)
    await nursery.start(lifespan.serve)
    await lifespan.shutdown(10)
    assert ([], ["WARNING"]) == (failures, [record.levelname for record in caplog.records])
    assert "the startup of the lifespan failed" in caplog.text
    assert "no database" in caplog.text


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_startup_that_exits_is_a_failed_start(nursery: trio.Nursery, mode: str) -> None:
    """sys.exit() in a startup is neither the end of the server without a word, nor a lifespan that is not there."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        sys.exit("no database")

    with pytest.raises(BootError, match=r"startup called sys.exit.*no database"):
        await nursery.start(lifespan_of(app, mode)[0].serve)


@pytest.mark.parametrize("late", [SystemExit(), GeneratorExit(), asyncio.CancelledError()])
async def test_whatever_a_lifespan_raises_later_is_reported(nursery: trio.Nursery, late: BaseException) -> None:
    """A lifespan that ends with any class of error, in its middle or at its end, is a failure and nothing else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise late

    lifespan, failures = lifespan_of(app)
    await nursery.start(lifespan.serve)
    await wait_all_tasks_blocked()
    assert [late] == failures
    await lifespan.shutdown(10)


async def test_a_failure_beside_a_cancellation_is_reported(nursery: trio.Nursery) -> None:
    """What one task of a lifespan raises while it is cancelled is not lost in the group of both."""

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the end")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        async with trio.open_nursery() as tasks:
            tasks.start_soon(fail)
            tasks.start_soon(trio.sleep_forever)

    lifespan, failures = lifespan_of(app)
    async with trio.open_nursery() as level:
        await level.start(lifespan.serve)
        await wait_all_tasks_blocked()
        level.cancel_scope.cancel()
    assert ["in the end"] == [str(error) for error in failures]


async def test_a_reason_of_many_lines_is_cut_to_its_last(nursery: trio.Nursery) -> None:
    """Starlette gives a traceback as the reason of a failed startup; the sentence has its last line."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback\n  here\nValueError: no database\n"})

    with pytest.raises(BootError, match=r"^the application's startup failed: ValueError: no database$"):
        await nursery.start(lifespan_of(app)[0].serve)


async def test_a_lifespan_that_breaks_later_is_reported(nursery: trio.Nursery) -> None:
    """An error after the startup is a failure of user code: reported, and the server continues."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.startup.complete"})

    lifespan, failures = lifespan_of(app)
    await nursery.start(lifespan.serve)
    await wait_all_tasks_blocked()
    assert ["the application sent 'lifespan.startup.complete' while its lifespan was up"] == [str(e) for e in failures]
    await lifespan.shutdown(10)


async def test_a_lifespan_that_asks_on(nursery: trio.Nursery, autojump_clock: Any) -> None:
    """After the shutdown message there is nothing more to receive."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await receive()

    lifespan, _ = lifespan_of(app)
    await nursery.start(lifespan.serve)
    await lifespan.shutdown(10)
    assert 10 == trio.current_time()
