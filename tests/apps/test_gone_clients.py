"""Clients that leave: how an application finds out, in every mode, and what it raises because of that is no failure."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import flask
import greenback
import pytest
import trio
import trio.lowlevel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request  # noqa: TC002 # Starlette looks at annotations
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import ClientDisconnected

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
# More than a WSGI application waits for before it is called.
LARGE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1100000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


async def until(condition: Callable[[], object]) -> None:
    """Wait for what a thread does."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 # there is no event for it
            await trio.sleep(0.001)


async def answer(send: Any, body: bytes, more: bool = False) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": body, "more_body": more})


# --- polls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["none", "read", "unread"])
async def test_a_poll_sees_a_disconnect(open_http: Any, body: str) -> None:
    """receive() gives what is there under a cancelled scope, too: its body once, and http.disconnect every time."""
    seen: list[str] = []
    left = trio.Event()

    async def poll(receive: Any) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            seen.append((await receive())["type"])
            return
        seen.append("nothing")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if body != "unread":
            await receive()
        await poll(receive)
        await left.wait()
        for _ in range(3):
            await poll(receive)

    world = await open_http(app)
    client = world.connect()
    await client.send(GET if body == "none" else POST + b"0123456789")
    await wait_all_tasks_blocked()
    await client.close()
    await wait_all_tasks_blocked()
    left.set()
    await wait_all_tasks_blocked()
    first = ["http.request"] if body == "unread" else ["nothing"]
    assert first + ["http.disconnect"] * 3 == seen
    assert (0, []) == (world.service.statistics().running, world.journal.failures)


async def test_starlette_sees_a_disconnect(open_http: Any, autojump_clock: Any) -> None:
    """`request.is_disconnected()` is false while the client is there, and true once it has left."""
    seen: list[bool] = []

    async def poll(request: Request) -> PlainTextResponse:
        while not await request.is_disconnected():
            seen.append(False)
            await anyio.sleep(1)
        seen.append(True)
        return PlainTextResponse("x")

    world = await open_http(Starlette(routes=[Route("/", poll)]), strict=True)
    client = world.connect()
    await client.send(GET)
    await trio.sleep(2.5)
    await client.close()
    await trio.sleep(2)
    assert [False, False, False, True] == seen
    assert 0 == world.service.statistics().running


async def test_after_the_response_there_is_nothing_but_a_disconnect(open_http: Any) -> None:
    """A body that was not read is not given any more once the response is complete."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x")
        for _ in range(2):
            with trio.move_on_after(0):
                seen.append((await receive())["type"])

    client = (await open_http(app, strict=True)).connect()
    for request in (GET, POST + b"0123456789"):
        await client.send(request)
        assert b"x" == (await client.response()).body
    assert ["http.disconnect"] * 4 == seen


@pytest.mark.parametrize("own", [False, True])
async def test_a_program_that_only_receives_can_be_ended(open_http: Any, mock_clock: Any, own: bool) -> None:
    """An application that receives in a loop after a disconnect lets others run, and its time limit ends it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if own:
            UNIT.get().set_user_deadline(trio.current_time() + 30)
        while True:
            await receive()

    world = await open_http(app, harakiri=0 if own else 30)
    client = world.connect()
    await client.send(GET)
    await wait_all_tasks_blocked()
    await client.close()
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    assert 1 == world.service.statistics().running
    mock_clock.jump(31)
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    assert (0, 1) == (world.service.statistics().running, world.service.calls.harakiris)


async def test_a_program_that_only_receives_ends_with_its_worker(open_http: Any) -> None:
    """A hard stop ends it, too."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    with trio.move_on_after(10) as late:
        async with trio.open_nursery() as nursery:
            world = await open_http(app, nursery=nursery)
            client = world.connect()
            await client.send(GET)
            await client.close()
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            assert 1 == world.service.statistics().running
            nursery.cancel_scope.cancel()
    assert not late.cancelled_caught


# --- what is no failure -----------------------------------------------------------------------------------------------


class Framework(Exception):
    """What a framework makes of a client that left."""


class Pieces:
    """Without an end. Not a generator: Starlette would leave it to the garbage collector, and Trio warn of that."""

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        await anyio.sleep(0.01)
        return bytes(20_000)


async def stream(request: Request) -> StreamingResponse:
    return StreamingResponse(Pieces())


async def wait_and_stream(request: Request) -> StreamingResponse:
    def sync_pieces() -> Iterator[bytes]:
        while True:
            yield bytes(20_000)

    return StreamingResponse(sync_pieces())


async def body(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def body_in_pieces(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str([piece async for piece in request.stream()]))


class Base(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


def starlette(endpoint: Any, *middleware: Any) -> Any:
    routes = [Route("/", endpoint, methods=["GET", "POST"])]
    return Starlette(routes=routes, middleware=[Middleware(each) for each in middleware])


async def lets_ours_through(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await go_on(send)


async def go_on(send: Any) -> None:
    while True:
        await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})


async def puts_ours_into_a_group(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"", more=True)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(go_on, send)


async def translates_ours(scope: Any, receive: Any, send: Any) -> None:
    try:
        await lets_ours_through(scope, receive, send)
    except OSError:
        raise Framework  # noqa: B904 # as Starlette does


async def translates_ours_explicitly(scope: Any, receive: Any, send: Any) -> None:
    try:
        await lets_ours_through(scope, receive, send)
    except OSError as error:
        raise ValueError("the client left") from error


async def raises_when_told(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise Framework


async def returns_when_told(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize(
    "app",
    [
        starlette(stream),
        starlette(stream, Base),
        starlette(stream, GZipMiddleware),
        starlette(stream, Base, GZipMiddleware),
        starlette(wait_and_stream),
        starlette(body),
        starlette(body, Base),
        starlette(body_in_pieces),
        starlette(body_in_pieces, Base),
        lets_ours_through,
        puts_ours_into_a_group,
        translates_ours,
        translates_ours_explicitly,
        raises_when_told,
        returns_when_told,
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Starlette's iterate_in_threadpool
@pytest.mark.parametrize("upload", [b"", POST + b"012", CHUNKED + b"3\r\n012\r\n"], ids=["get", "length", "chunked"])
async def test_a_disconnect_is_no_failure(
    open_http: Any, app: Any, upload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of our error, or of http.disconnect, in a framework: one access line, and nothing else."""
    caplog.set_level(logging.INFO, "trio_uwsgi")
    world = await open_http(app, strict=True, access_log=True)
    client = world.connect()
    await client.send(upload or GET)
    with trio.move_on_after(0.05):
        await client.receive()
    await client.close()
    await until(lambda: not world.service.statistics().running and caplog.records)
    await until(lambda: not world.service.statistics().open)
    (record,) = caplog.records
    assert ("trio_uwsgi.access", 0) == (record.name, world.service.calls.failures)


async def fails_in_its_clean_up(scope: Any, receive: Any, send: Any) -> None:
    try:
        await lets_ours_through(scope, receive, send)
    finally:
        raise AttributeError("mine")


async def fails_when_told(scope: Any, receive: Any, send: Any) -> None:
    await returns_when_told(scope, receive, send)
    1 / 0  # noqa: B018 # that is the point


async def fails_among_others(scope: Any, receive: Any, send: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(translates_ours, scope, receive, send)
        nursery.start_soon(fails_when_told, scope, receive, send)


async def never_hears_of_it(scope: Any, receive: Any, send: Any) -> None:
    await trio.sleep(0.1)
    raise Framework("it knows nothing of its client")


async def fails_after_its_response(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"")
    await receive()
    raise Framework("in the background")


@pytest.mark.parametrize(
    "app",
    [fails_in_its_clean_up, fails_when_told, fails_among_others, never_hears_of_it, fails_after_its_response],
)
async def test_a_failure_of_a_client_that_left_is_reported(open_http: Any, app: Any) -> None:
    """A program that is wrong, or did not know that its client is gone, has failed as ever."""
    world = await open_http(app)
    client = world.connect()
    await client.send(GET)
    await trio.sleep(0.02)
    await client.close()
    await until(lambda: not world.service.statistics().running)
    assert 1 == len(world.journal.failures)


# --- WSGI -------------------------------------------------------------------------------------------------------------


def flask_app(log: list[str]) -> flask.Flask:
    app = flask.Flask("test")

    @app.post("/")
    def upload() -> str:
        return str(len(flask.request.form) + len(flask.request.get_data()))

    @app.teardown_request
    def ended(error: BaseException | None) -> None:
        log.append(type(error).__name__)

    return app


async def test_flask_and_an_upload_that_is_cut(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """To Flask, a body that ends early is the client's mistake: 400, and no line but the access log's."""
    caplog.set_level(logging.INFO)
    log: list[str] = []
    world = await open_http(flask_app(log), interface="wsgi", strict=True, access_log=True)
    client = world.connect()
    await client.send(LARGE + b"012")
    await until(lambda: world.service.statistics().running)
    await trio.sleep(0.05)
    await client.send_eof()
    assert (await client.read_all()).startswith(b"HTTP/1.1 400 ")
    await until(lambda: log and caplog.records)
    (record,) = caplog.records
    assert ("trio_uwsgi.access", True) == (record.name, '" 400 ' in record.getMessage())


@pytest.mark.parametrize("wrapped", [False, True])
async def test_wsgi_and_an_upload_that_is_cut(open_http: Any, caplog: pytest.LogCaptureFixture, wrapped: bool) -> None:
    """What `wsgi.input` raises is no failure when it comes back, as it is or in a framework's own."""
    caplog.set_level(logging.INFO)

    def app(environ: Any, start_response: Any) -> Any:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            if wrapped and isinstance(error, ClientDisconnected):
                raise Framework  # noqa: B904 # as Starlette does
            raise

    world = await open_http(app, interface="wsgi", strict=True, access_log=True)
    client = world.connect()
    await client.send(LARGE + b"012")
    await until(lambda: world.service.statistics().running)
    await client.send_eof()
    assert (await client.read_all()).startswith(b"HTTP/1.1 400 ")
    await until(lambda: not world.service.statistics().running and caplog.records)
    assert ["trio_uwsgi.access"] == [record.name for record in caplog.records]


async def test_what_frameworks_are_told_about_the_input(open_http: Any) -> None:
    """A large body of known length that is on its way is for them to count; any other is safe to read to its end."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"%a %d" % (environ.get("wsgi.input_terminated"), len(environ["wsgi.input"].read()))]

    client = (await open_http(app, interface="wsgi", strict=True)).connect()
    await client.send(POST + b"0123456789")
    assert b"True 10" == (await client.response()).body
    for head, size, expected in ((POST, 10, b"True 10"), (LARGE, 1_100_000, b"None 1100000")):
        await client.send(head + bytes(size // 2))
        await trio.sleep(0.02)
        await client.send(bytes(size // 2))
        assert expected == (await client.response()).body


# --- cancel_on_disconnect, and half-closed clients --------------------------------------------------------------------


async def asgi_sleeper(scope: Any, receive: Any, send: Any) -> None:
    await trio.sleep(1)
    await answer(send, b"done")


def wsgi_sleeper(environ: Any, start_response: Any) -> Any:
    if environ["wsgi.multithread"]:
        trio.from_thread.run(trio.sleep, 1)
    else:
        greenback.await_(trio.sleep(1))  # noqa: ASYNC105 # it is
    start_response("200 OK", [])
    return [b"done"]


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("when", ["with the request", "later"])
@pytest.mark.parametrize("mode", ["asgi", "threads", "inline"])
async def test_a_half_closed_client(open_http: Any, mode: str, when: str, cancels: bool) -> None:
    """It is answered in full, in every mode; with cancel_on_disconnect it counts as gone, in every mode."""
    wsgi = {"interface": "wsgi", "threads": 0 if mode == "inline" else 2}
    app = asgi_sleeper if mode == "asgi" else wsgi_sleeper
    world = await open_http(app, **({} if mode == "asgi" else wsgi), strict=True, cancel_on_disconnect=cancels)
    client = world.connect()
    await client.send(GET)
    if when == "later":
        await trio.sleep(0.05)
    await client.send_eof()
    with trio.fail_after(10):
        data = await client.read_all()
    assert (0 if cancels else 1) == data.count(b"done")
    await until(lambda: not world.service.statistics().running)
    assert (0, 0) == (world.service.calls.harakiris, world.threads.stuck)


@pytest.mark.real
async def test_a_thread_that_does_not_wait_goes_on(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A disconnect does not abandon a thread that does something else; its next wait raises."""
    proceed = threading.Event()
    log: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        log.append("begun")
        proceed.wait(10)
        try:
            trio.from_thread.run(trio.sleep, 0)
        except trio.Cancelled:
            log.append("cancelled")
            raise
        finally:
            log.append("ended")

    world = await open_http(app, interface="wsgi", cancel_on_disconnect=True, threads=1)
    client = world.connect()
    await client.send(GET)
    await until(lambda: log)
    await client.close()
    await trio.sleep(0.3)  # longer than a thread has to end
    assert (1, 0) == (world.service.statistics().running, world.threads.stuck)
    proceed.set()
    await until(lambda: not world.service.statistics().running)
    assert ["begun", "cancelled", "ended"] == log
    assert (0, []) == (world.service.calls.harakiris, world.journal.failures)
    assert "" == caplog.text


@pytest.mark.real
async def test_harakiri_of_a_thread_whose_client_left(open_http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is abandoned after its time limit, and the log says so."""
    proceed = threading.Event()
    begun = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        begun.set()
        proceed.wait(10)

    world = await open_http(app, interface="wsgi", cancel_on_disconnect=True, harakiri=0.3, threads=1)
    client = world.connect()
    await client.send(GET)
    await until(begun.is_set)
    await client.close()
    await until(lambda: world.threads.stuck)
    await until(lambda: world.service.calls.harakiris)
    proceed.set()
    await until(lambda: not world.threads.stuck)
    assert "harakiri on worker1: request GET /" in caplog.text
