"""WSGI applications on Trio's own thread: one request at a time, which may wait."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import greenback
import httpx
import pytest
import sniffio
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi import sync
from trio_uwsgi._apps.async_cores import current_waits
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._http.reactor import serve_sockets
from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._units.heartbeat import Heartbeat
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.connections import SocketOptions
from trio_uwsgi.errors import CannotWait

sleep = trio.sleep
WAITING: contextvars.ContextVar[str] = contextvars.ContextVar("waiting", default="nothing")


@pytest.fixture
def open_inline(open_http: Any) -> Any:
    """As `open_http`, for a WSGI application without threads."""

    async def start(app: Any, **options: Any) -> Any:
        return await open_http(app, interface="wsgi", threads=0, **options)

    return start


def ok(start_response: Any, *headers: tuple[str, str]) -> Callable[[bytes], None]:
    write: Callable[[bytes], None] = start_response("200 OK", list(headers))
    return write


def answering(body: Callable[[Any], Any]) -> Any:
    """An application that answers what `body(environ)` returns."""

    def app(environ: Any, start_response: Any) -> Any:
        pieces = body(environ)
        ok(start_response)
        return pieces

    return app


async def test_it_runs_on_trios_thread(open_inline: Any) -> None:
    """A request is the unit of its code, which runs on Trio's thread, in a context of its own; its ends are called."""
    log: list[object] = []

    def body(environ: Any) -> list[bytes]:
        unit = UNIT.get()
        unit.at_end(lambda: log.append("end"))
        log.append((threading.current_thread() is threading.main_thread(), unit.what, WAITING.get()))
        log.append((environ["wsgi.multithread"], environ["wsgi.multiprocess"]))
        WAITING.set("leaked")
        return [b"x"]

    client = (await open_inline(answering(body))).connect()
    for _ in range(2):
        assert b"x" == (await client.get("/a")).body
    assert [(True, "request GET /a", "nothing"), (False, False), "end"] * 2 == log


@pytest.mark.parametrize(
    "pieces", [[bytes(100_000)] * 5, (b"a", b"b"), [b""], [], [bytes(1_000_000)], iter([b"a", b"b"]), b"ab"]
)
async def test_responses_of_any_shape(open_inline: Any, pieces: Any) -> None:
    """Lists, tuples and iterators arrive whole; bytes do, too, as with uWSGI."""
    pieces = list(pieces) if isinstance(pieces, Iterator) else pieces
    client = (await open_inline(answering(lambda environ: pieces))).connect()
    for _ in range(2):
        assert (pieces if isinstance(pieces, bytes) else b"".join(pieces)) == (await client.get()).body


async def test_pipelined_requests_are_answered_in_order(open_inline: Any) -> None:
    """Many requests in one packet take no stack, and `write` and `close` do what they do elsewhere."""
    closed: list[int] = []

    class Closing(list[bytes]):
        def close(self) -> None:
            closed.append(len(closed))

    def app(environ: Any, start_response: Any) -> Any:
        ok(start_response)(b"<")
        return Closing([environ["PATH_INFO"].encode()])

    world = await open_inline(app)
    client = world.connect()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(200)))
    assert [b"</%d" % n for n in range(200)] == [(await client.response()).body for _ in range(200)]
    assert list(range(200)) == closed
    assert (200, 0) == (world.service.statistics().requests, world.service.statistics().running)


async def test_an_incomplete_body_delays_no_other_request(open_inline: Any) -> None:
    """A request begins when its body is there; the client is asked for it at once, and others are served meanwhile."""
    world = await open_inline(answering(lambda environ: [environ["wsgi.input"].read() or b"-"]))
    client = world.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.receive()
    await client.send(b"ab")
    assert b"-" == (await world.connect().get()).body
    await client.send(b"cd")
    assert b"abcd" == (await client.response()).body


async def test_a_body_that_never_comes(open_inline: Any, autojump_clock: Any) -> None:
    """Its client gets an error after socket_timeout or the time limit; after a disconnect nothing is sent."""
    begun: list[object] = []
    app = answering(begun.append)
    world = await open_inline(app)
    half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab"
    client, other = world.connect(), world.connect()
    await client.send(half)
    await other.send(half)
    await wait_all_tasks_blocked()
    await other.close()
    assert 408 == (await client.response()).status
    await wait_all_tasks_blocked()
    assert 0 == world.service.statistics().running
    world = await open_inline(app, harakiri=10)
    client = world.connect()
    await client.send(half)
    assert 504 == (await client.response()).status
    assert ([], 1, 0) == (begun, world.service.calls.harakiris, world.service.statistics().running)


async def test_what_comes_back_late_is_a_504(
    open_inline: Any, mock_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that has passed its limit, or its own, is answered 504, whatever it returned or raised."""

    def app(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/own":
            UNIT.get().limit(trio.current_time() + 1)
        mock_clock.jump(2 if path == "/own" else 5)
        if path == "/failing":
            raise ValueError
        ok(start_response)
        return [b"x"]

    world = await open_inline(app, harakiri=5)
    client = world.connect()
    for path in ("/late", "/failing", "/own"):
        client = world.connect()
        assert 504 == (await client.get(path)).status
    assert 3 == world.service.calls.harakiris
    assert "request GET /late was cancelled after 5.00 s, stuck at its return, after the time limit" in caplog.text
    assert [] == world.journal.failures


async def test_failures_are_contained(open_inline: Any) -> None:
    """What the application raises is a 500, and nothing else; after the head, the connection is cut."""

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/exit":
            raise SystemExit
        if environ["PATH_INFO"] == "/stream":
            ok(start_response)(b"x")
        raise ValueError("wrong")

    world = await open_inline(app)
    assert [500, 500] == [(await world.connect().get(path)).status for path in ("/", "/exit")]
    client = world.connect()
    await client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not (await client.read_all()).endswith(b"0\r\n\r\n")
    assert ["ValueError", "SystemExit", "ValueError"] == [type(error).__name__ for error in world.journal.failures]


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_waits_through_greenback(open_inline: Any, autojump_clock: Any) -> None:
    """Code may wait for Trio, under its own unit; no other request begins meanwhile."""
    log: list[str] = []

    async def wait() -> None:
        await trio.sleep(1)
        log.append(UNIT.get().what)

    def body(environ: Any) -> list[bytes]:
        log.append("begun")
        greenback.await_(wait())
        return [b"x"]

    world = await open_inline(answering(body), harakiri=30)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(world.connect().get)
    assert ["begun", "request GET /"] * 2 == log


@pytest.mark.parametrize("own", [False, True])
async def test_harakiri_of_what_waits(
    open_inline: Any, autojump_clock: Any, own: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits too long is cancelled, by the option's limit and its own; the next one is served, or times out."""

    def body(environ: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            if own:
                UNIT.get().limit(trio.current_time() + 1)
            greenback.await_(sleep(1000))
        return [b"x"]

    world = await open_inline(answering(body), harakiri=10)
    statuses: dict[str, int] = {}

    async def ask(path: str) -> None:
        statuses[path] = (await world.connect().get(path)).status

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "/wait")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "/")
        await wait_all_tasks_blocked()
    assert ({"/wait": 504, "/": 200 if own else 504}) == statuses
    assert "test_wsgi_inline.py" in caplog.text
    assert 200 == (await world.connect().get()).status


async def test_harakiri_and_a_failure_in_one_group(open_inline: Any, autojump_clock: Any) -> None:
    """A child that fails as its nursery is cancelled is a failure of its request, not of the worker."""

    async def fail() -> None:
        try:
            await sleep(1000)
        finally:
            raise ValueError("unwinding")

    async def wait() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(sleep, 1000)

    def body(environ: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            greenback.await_(wait())
        return [b"x"]

    world = await open_inline(answering(body), harakiri=10)
    assert 500 == (await world.connect().get("/wait")).status
    assert 200 == (await world.connect().get("/")).status
    assert (1, 1) == (world.service.calls.failures, world.service.calls.harakiris)


async def test_cancel_on_disconnect(open_inline: Any, autojump_clock: Any) -> None:
    """The waiting request of a client that disconnects is cancelled, which does not count as harakiri."""
    ended: list[bool] = []

    def body(environ: Any) -> list[bytes]:
        UNIT.get().at_end(lambda: ended.append(True))
        greenback.await_(sleep(1000))
        return [b"x"]

    world = await open_inline(answering(body), cancel_on_disconnect=True)
    client = world.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await wait_all_tasks_blocked()
    await client.close()
    await wait_all_tasks_blocked()
    assert ([True], 0) == (ended, world.service.calls.harakiris)


async def test_what_is_for_threads(open_inline: Any) -> None:
    """`trio.from_thread` says what to do in its place; `check_cancelled` is answered as in a thread."""

    def body(environ: Any) -> list[bytes]:
        trio.from_thread.check_cancelled()
        call = trio.from_thread.run if environ["PATH_INFO"] == "/run" else trio.from_thread.run_sync
        with pytest.raises(CannotWait, match=r"write sync\.wait\(\) in its place, or set threads=1"):
            call(trio.sleep, 0)
        return [b"x"]

    world = await open_inline(answering(body), strict=True)
    for path in ("/run", "/run_sync"):
        assert b"x" == (await world.connect().get(path)).body
    with pytest.raises(RuntimeError, match="wasn't created by Trio"):
        trio.from_thread.run(trio.sleep, 0)
    assert 5 == await trio.to_thread.run_sync(trio.from_thread.run_sync, lambda: 5)


async def test_another_thread_of_the_application(open_inline: Any) -> None:
    """It reads a large body and writes a large response while the request waits for it through greenback."""

    def app(environ: Any, start_response: Any) -> Any:
        write = ok(start_response)

        def work() -> None:
            write(str(len(environ["wsgi.input"].read())).encode())
            for _ in range(9):
                write(bytes(60_000))

        greenback.await_(trio.to_thread.run_sync(work))
        return [b"end"]

    client = (await open_inline(app, strict=True)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    for _ in range(30):
        await client.send(bytes(10_000))
        await trio.sleep(0.001)
    body = (await client.response()).body
    assert (b"300000", b"end", 540_009) == (body[:6], body[-3:], len(body))


async def test_another_thread_that_would_wait_for_ever(open_inline: Any) -> None:
    """If the request's code joins it, an error says what to do; small bodies work."""
    errors: list[BaseException] = []

    def app(environ: Any, start_response: Any) -> Any:
        write = ok(start_response)

        def work() -> None:
            for act in (environ["wsgi.input"].read, lambda: write(bytes(100_000))):
                try:
                    act()
                except CannotWait as error:
                    errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
        return [b"end"]

    client = (await open_inline(app, strict=True)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(200_000))
    with trio.fail_after(20):
        while len(errors) < 2:  # noqa: ASYNC110 # there is no event for it
            await trio.sleep(0.01)
    assert all("set threads=1 or more" in str(error) for error in errors)


async def in_asyncio() -> list[str]:
    """Under asyncio: what sniffio says there, and whether anyio and httpx find their way."""
    await anyio.lowlevel.checkpoint()
    await anyio.to_thread.run_sync(threading.get_ident)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
    transport = httpx.ASGITransport(app=asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return [sniffio.current_async_library(), (await client.get("/")).text]


async def waiting_in_asyncio() -> None:
    """Synchronous code in a coroutine of asyncio: it waits for Trio, and the loop of asyncio with it."""
    sync.wait(sleep, 0.001)
    assert "asyncio" == sniffio.current_async_library()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    await anyio.lowlevel.checkpoint()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})


async def test_asyncio_in_a_view(open_inline: Any) -> None:
    """The code of a view has no loop around it: it may run asyncio, and anyio in it, as in a thread."""

    def body(environ: Any) -> list[bytes]:
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()
        assert ["asyncio", "asgi"] == asyncio.run(in_asyncio()) == anyio.run(in_asyncio, backend="asyncio")
        assert greenback.has_portal()
        greenback.await_(anyio.sleep(0.001))
        assert ["trio", "asgi"] == greenback.await_(in_asyncio())
        assert ["asyncio", "asgi"] == asyncio.run(in_asyncio())
        asyncio.run(waiting_in_asyncio())
        return [b"x"]

    async def look() -> None:
        while True:
            assert "trio" == sniffio.current_async_library()
            await anyio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        world = await open_inline(answering(body), strict=True)
        client = world.connect()
        for _ in range(2):
            assert b"x" == (await client.get()).body
        nursery.cancel_scope.cancel()
    assert "trio" == sniffio.current_async_library()
    assert "trio" == await anyio.to_thread.run_sync(anyio.from_thread.run_sync, sniffio.current_async_library)


async def test_trio_in_a_view(open_inline: Any) -> None:
    """A second Trio does not fit into one thread: the error says what to do."""

    def body(environ: Any) -> list[bytes]:
        (trio.run if environ["PATH_INFO"] == "/trio" else functools.partial(anyio.run, backend="trio"))(trio.sleep, 0)
        return []

    world = await open_inline(answering(body))
    for path in ("/trio", "/anyio"):
        assert 500 == (await world.connect().get(path)).status
    for failure in world.journal.failures:
        assert "set threads=1 or more" in failure.__notes__[0]


async def test_generators_may_yield_waits(open_inline: Any, autojump_clock: Any) -> None:
    """Waits of uWSGI's async modes are committed through greenback."""

    def generator(environ: Any) -> Iterator[bytes]:
        yield current_waits().register(-1, False, 1)
        yield str(environ["x-wsgiorg.fdevent.timeout"]).encode()

    world = await open_inline(answering(generator))
    assert b"True" == (await world.connect().get()).body


# --- signs of life ----------------------------------------------------------------------------------------------------


async def test_the_watchdog_is_told(open_inline: Any) -> None:
    """While a request runs, the scoreboard has its name, start and deadline; afterwards only a heartbeat."""
    scoreboard = Scoreboard.make(1, 1)
    (row,) = scoreboard.rows
    seen: list[object] = []

    def body(environ: Any) -> list[bytes]:
        seen.append((row.read(), abs(time.monotonic() - row.get("heartbeat")) < 5))
        UNIT.get().limit(trio.current_time() + 100)
        seen.append(abs(row.get("deadline") - time.monotonic() - 100) < 5)
        return [b"x"]

    world = await open_inline(answering(body), harakiri=30, heartbeat=Heartbeat(row))
    assert 200 == (await world.connect().get("/slow")).status
    await wait_all_tasks_blocked()
    assert [(b"request GET /slow", True), True] == seen
    assert (b"", 0.0) == (row.read(), row.get("deadline"))
    world = await open_inline(answering(lambda environ: [row.read()]), heartbeat=Heartbeat(row))
    assert b"" == (await world.connect().get("/unlimited")).body
    scoreboard.close()


# --- sockets ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(world: Any) -> AsyncIterator[tuple[str, int]]:
    """Serve a loopback port with the reactor; gives its address."""
    options = SocketOptions(backlog=10, mode=None)
    async with open_listeners([Address.parse("127.0.0.1:0")], options) as listeners, trio.open_nursery() as nursery:
        nursery.start_soon(serve_sockets, world.service, listeners)
        yield listeners[0].socket.getsockname()
        nursery.cancel_scope.cancel()


def slow_upload(address: tuple[str, int]) -> bytes:
    """In a thread: send a body of 3,000,000 bytes with pauses, and read the response."""
    with socket.create_connection(address, timeout=60) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n")
        for _ in range(6):
            sock.sendall(bytes(500_000))
            time.sleep(0.01)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def slow_download(address: tuple[str, int]) -> bytes:
    """In a thread: read a response with pauses."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(address)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := sock.recv(1 << 20):
            data += piece
            time.sleep(0.001)
        return data


def stuck_client(address: tuple[str, int], request: bytes) -> bytes:
    """In a thread: send something, and read nothing for a while."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(address)
        sock.sendall(request)
        time.sleep(0.5)
        data = b""
        try:
            while piece := sock.recv(1 << 20):
                data += piece
        except ConnectionResetError:
            data += b"RESET"
        return data


HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(100_000)


@pytest.mark.real
async def test_slow_clients_are_waited_for(open_inline: Any) -> None:
    """Large bodies are read while they come, and large responses sent as they are taken, bounded in memory."""
    world = await open_inline(answering(lambda environ: [b"%d" % len(environ["wsgi.input"].read())]))
    async with serving(world) as address:
        assert (await trio.to_thread.run_sync(slow_upload, address)).endswith(b"\r\n\r\n3000000")
    most = [0]

    def pieces(environ: Any) -> Iterator[bytes]:
        session = UNIT.get().session  # type: ignore[attr-defined]  # it is an Exchange
        for _ in range(300):
            yield bytes(50_000)
            most[0] = max(most[0], session.pending)

    world = await open_inline(answering(pieces))
    async with serving(world) as address:
        assert 15_000_000 < len(await trio.to_thread.run_sync(slow_download, address))
    assert most[0] <= 65536


@pytest.mark.real
async def test_a_body_piece_by_piece(open_inline: Any) -> None:
    """The application takes what has arrived of a body, and waits for more, with a limit."""
    more = threading.Event()

    def body(environ: Any) -> list[bytes]:
        exchange: Any = UNIT.get()
        size = 0
        while size < 100_000 and exchange.piece_arrives(60):
            size += len(exchange.piece_at_hand())
        waits = [exchange.piece_at_hand(), exchange.piece_arrives(0.01)]
        more.set()
        while exchange.piece_arrives(60) and (piece := exchange.next_piece()):
            size += len(piece)
        return [repr((size, waits, exchange.piece_at_hand())).encode()]

    def upload(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, timeout=60) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            sock.sendall(b"%x\r\n%b\r\n" % (100_000, bytes(100_000)))
            assert more.wait(60)
            sock.sendall(b"3\r\nabc\r\n0\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(65536), b""))

    world = await open_inline(answering(body))
    async with serving(world) as address:
        assert (await trio.to_thread.run_sync(upload, address)).endswith(b"\r\n\r\n(100003, [None, False], b'')")


@pytest.mark.real
@pytest.mark.parametrize("limit", ["harakiri", "socket_timeout"])
async def test_every_wait_for_a_client_is_bounded(open_inline: Any, limit: str) -> None:
    """A client that sends no more of its body, or takes no more, costs its time limit and then its connection."""
    world = await open_inline(answering(lambda environ: [environ["wsgi.input"].read()]), **{limit: 0.2})
    async with serving(world) as address:
        data = await trio.to_thread.run_sync(stuck_client, address, HALF)
        assert b"HTTP/1.1 504 " if limit == "harakiri" else b"HTTP/1.1 408 " == data[:13]
    world = await open_inline(answering(lambda environ: iter([bytes(60_000)] * 999)), **{limit: 0.2})
    async with serving(world) as address:
        data = await trio.to_thread.run_sync(stuck_client, address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"RESET" == data[-5:]
        await wait_all_tasks_blocked()
        assert 0 == world.service.statistics().running
