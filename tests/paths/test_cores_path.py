"""Async cores from end to end: WSGI and ASGI, the client's connection, and what is left of it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._http.exchange import Exchange
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError
from trio_uwsgi.testing import Notes, RuntimeUnderTest, open_runtime

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi_exchange import Receive, Send

    Environ = dict[str, Any]
    StartResponse = Callable[..., object]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def _talk(runtime: RuntimeUnderTest, *pieces: bytes, eof: bool = False) -> bytes:
    """Send pieces, a second apart; what the server sends until it closes."""
    async with runtime.connect() as stream:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(1)
        if eof:
            await stream.send_eof()
        answer = b""
        while data := await stream.receive_some():
            answer += bytes(data)
    return answer


def _asgi(program: Callable[[Send], Awaitable[None]]) -> object:
    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await program(send)

    return app


@all_placements
async def test_a_protocol_of_ones_own(placement: Placement, autojump_clock: trio.testing.MockClock) -> None:
    """After the first raw bytes, both directions are the application's, until it returns."""

    async def program(send: Send) -> None:
        await uwsgi.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        line = b""
        while line != b"bye":
            line = await uwsgi.recv(100)
            await uwsgi.send(b"<" + line + b">")

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime:
        upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n"
        answer = await _talk(runtime, upgrade, GET, b"\0\xff", b"bye")
    assert b"HTTP/1.1 101 Switching Protocols\r\n\r\n<" + GET + b"><\0\xff><bye>" == answer


@all_placements
async def test_raw_bytes_from_the_rest_of_a_body_on(
    placement: Placement, autojump_clock: trio.testing.MockClock
) -> None:
    """First the body, then what follows it, then the client's end."""
    seen: Notes[bytes] = Notes()

    async def program(send: Send) -> None:
        await uwsgi.send(b"ready ")
        while piece := await uwsgi.recv(5):
            seen.append(piece)
        await uwsgi.send(b"done")

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime:
        head = POST + b"Content-Length: 7\r\n\r\n"
        assert b"ready done" == await _talk(runtime, head + b"0123", b"456", b"beyond", b"!", eof=True)
    assert [b"0123", b"456", b"beyon", b"d", b"!"] == seen


@all_placements
async def test_what_came_too_early_is_an_error(placement: Placement, autojump_clock: trio.testing.MockClock) -> None:
    """A second request that was sent behind the first cannot be given back as bytes."""
    errors: Notes[str] = Notes()

    async def program(send: Send) -> None:
        await uwsgi.send(b"raw")
        try:
            await uwsgi.recv(10)
        except LocalProtocolError as error:
            errors.append(str(error))

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime:
        assert b"raw" == await _talk(runtime, GET * 2)
    assert ["bytes arrived before the first uwsgi.send(), and were taken for another request"] == errors


@all_placements
async def test_a_client_that_sends_more_than_is_received_waits(
    placement: Placement, autojump_clock: trio.testing.MockClock
) -> None:
    """What waits here is bounded by one read, and nothing of it is lost."""
    size = 300_000
    ends: Notes[tuple[int, int]] = Notes()

    async def program(send: Send) -> None:
        got = most = 0
        unit = UNIT.get()
        assert isinstance(unit, Exchange)
        await uwsgi.send(b"go")
        while got < size:
            got += len(await uwsgi.recv(10_000))
            await trio.sleep(1)
            most = max(most, unit.request.buffered)
        ends.append((got, most))

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime:
        assert b"go" == await _talk(runtime, GET, b"x" * size)
    ((got, most),) = ends
    assert size == got
    assert 0 < most <= 65536


@pytest.mark.parametrize("started", [False, True])
@all_placements
async def test_no_response_follows_raw_bytes(
    placement: Placement, autojump_clock: trio.testing.MockClock, started: bool
) -> None:
    """An application that tries is told so, also if it had said its head before."""
    errors: Notes[str] = Notes()

    async def program(send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if started:
            await send(start)
        await uwsgi.send(b"raw")
        try:
            await send({"type": "http.response.body", "body": b"late"} if started else start)
        except LocalProtocolError as error:
            errors.append(str(error))

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime:
        assert b"raw" == await _talk(runtime, GET)
    said = "uwsgi.send() has sent bytes outside of the response: no part of the response can follow"
    assert [said if started else "the headers have been sent already"] == errors


@all_placements
async def test_raw_bytes_from_a_wsgi_thread(placement: Placement, autojump_clock: trio.testing.MockClock) -> None:
    """It receives what `wsgi.input` did not read, whether the body had arrived or not, and needs no response."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        pieces = [environ["wsgi.input"].read(2)]
        size = 3 if environ["CONTENT_LENGTH"] == "10" else 100_000
        while piece := trio.from_thread.run(uwsgi.recv, size):
            pieces.append(piece)
        trio.from_thread.run(uwsgi.send, b"|".join(pieces))
        return []

    head = POST + b"Content-Length: 10\r\n\r\n"
    large = POST + b"Content-Length: 1100000\r\n\r\n"
    async with open_runtime(app, Config(threads=1, placement=placement)) as runtime:
        assert b"01|234|567|89" == await _talk(runtime, head + b"0123456789")
        assert b"01|234|567|89" == await _talk(runtime, head + b"012345", b"6789")
        first, rest = b"0" * 600_000, b"1" * 500_000
        assert first + rest == (await _talk(runtime, large + first, rest)).replace(b"|", b"")


@all_placements
async def test_a_wsgi_response_after_raw_bytes_fails(
    placement: Placement, autojump_clock: trio.testing.MockClock
) -> None:
    """The client has the raw bytes that it got, and nothing else."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        trio.from_thread.run(uwsgi.send, b"raw")
        trio.from_thread.run(trio.sleep, 1)
        return [b"late"]

    async with open_runtime(app, Config(threads=1, placement=placement), allow_failures=True) as runtime:
        assert b"raw" == await _talk(runtime, GET)
        failures = [event.what for event in runtime.log if "failed" in event.what]
    assert 1 == len(failures)
    assert "sent bytes outside of the response" in failures[0]


@pytest.mark.parametrize("kind", ["list", "nothing", "short", "late"])
@all_placements
async def test_a_wsgi_application_without_its_client(
    placement: Placement, autojump_clock: trio.testing.MockClock, kind: str
) -> None:
    """After `disconnect` it need not respond; what it sends nevertheless is an error in it, and no failure."""
    errors: Notes[type[BaseException]] = Notes()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if kind == "list":
            uwsgi.disconnect()
            return []
        return generate(start_response)

    def generate(start_response: Any) -> Iterator[bytes]:  # Any: the two kinds of start_response
        if kind == "nothing":
            uwsgi.disconnect()
            yield b""
            return
        write = start_response("200 OK", [("Content-Length", "10")])
        yield b"sent"
        uwsgi.disconnect()
        yield uwsgi.async_sleep(3)
        if kind == "late":
            try:
                write(b"late")
            except ClientDisconnected as error:
                errors.append(type(error))
            yield b"later"

    async with open_runtime(app, Config(placement=placement)) as runtime:
        answer = await _talk(runtime, GET)
        await trio.sleep(5)
        assert [] == [event.what for event in runtime.log if "failed" in event.what]
    assert (kind in ("short", "late")) == answer.endswith(b"\r\n\r\nsent")
    assert ([ClientDisconnected] if kind == "late" else []) == errors


@all_placements
async def test_harakiri_ends_a_generator_that_waits_for_a_descriptor(
    placement: Placement, autojump_clock: trio.testing.MockClock
) -> None:
    """And leaves nothing behind that would keep others from waiting for it."""
    left, right = socket.socketpair()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        uwsgi.wait_fd_read(left.fileno())
        yield b""
        start_response("200 OK", [])
        yield b"never"

    with left, right:
        async with open_runtime(app, Config(harakiri=3, placement=placement), allow_failures=True) as runtime:
            began = trio.current_time()
            assert 504 == (await runtime.client.get("/")).status_code
            assert 3 == round(trio.current_time() - began, 3)
            with trio.move_on_after(1) as scope:
                await trio.lowlevel.wait_readable(left.fileno())
            assert scope.cancelled_caught


@all_placements
async def test_empty_pieces_commit_only_what_is_registered(
    placement: Placement, autojump_clock: trio.testing.MockClock
) -> None:
    """A generator that waits for nothing is an ordinary one."""
    found: Notes[bool] = Notes()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        yield b""
        start_response("200 OK", [])
        yield b"".join([b"bo", uwsgi.async_sleep(1), b"dy"])
        found.append("uwsgi.ready_fd" in environ)
        yield b""
        found.append("uwsgi.ready_fd" in environ)

    async with open_runtime(app, Config(placement=placement)) as runtime:
        response = await runtime.client.get("/")
        assert (200, "body") == (response.status_code, response.text)
    assert [False, True] == found


@all_placements
async def test_a_thread_may_suspend(placement: Placement, autojump_clock: trio.testing.MockClock) -> None:
    """A WSGI application that is no generator commits its waits through Trio."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        uwsgi.async_sleep(4)
        uwsgi.async_sleep(2)
        trio.from_thread.run(uwsgi.suspend)
        start_response("200 OK", [])
        return [str(uwsgi.ready_fd()).encode()]

    async with open_runtime(app, Config(threads=1, placement=placement)) as runtime:
        began = trio.current_time()
        assert "-1" == (await runtime.client.get("/")).text
        assert 2 == round(trio.current_time() - began, 3)


@all_placements
async def test_the_end_of_a_handler_forgets_its_waits(
    placement: Placement, autojump_clock: trio.testing.MockClock, uwsgi_registry: Registry
) -> None:
    """The next one that runs in the same member does not commit them."""
    took: Notes[float] = Notes()

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def first(signum: int) -> None:
        uwsgi.async_sleep(100)

    @uwsgi_registry.signal_handler(2, target="mule1")
    async def second(signum: int) -> None:
        began = trio.current_time()
        uwsgi.async_sleep(200)
        await uwsgi.suspend()
        took.append(round(trio.current_time() - began, 3))

    async with open_runtime(None, Config(mules=1, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(300)
    assert [200] == took


@all_placements
async def test_disconnecting_after_the_response(placement: Placement, autojump_clock: trio.testing.MockClock) -> None:
    """It leaves the connection alone, and raw bytes cannot follow."""
    errors: Notes[str] = Notes()

    async def program(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})
        uwsgi.disconnect()
        try:
            await uwsgi.send(b"late")
        except LocalProtocolError as error:
            errors.append(str(error))

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime, runtime.connect() as stream:
        for _ in range(2):
            await stream.send_all(GET)
            assert bytes(await stream.receive_some()).endswith(b"whole")
    assert ["the response is complete: nothing can be sent after it"] * 2 == errors


@all_placements
async def test_a_receive_that_was_cancelled_took_nothing(
    placement: Placement, autojump_clock: trio.testing.MockClock
) -> None:
    """The next one gets it."""
    seen: Notes[bytes] = Notes()
    cancelled: Notes[bool] = Notes()

    async def program(send: Send) -> None:
        for _ in range(3):
            with trio.move_on_after(0.3) as scope:
                seen.append(await uwsgi.recv(10))
            cancelled.append(scope.cancelled_caught)
        while piece := await uwsgi.recv(10):
            seen.append(piece)
        await uwsgi.send(b"ok")

    async with open_runtime(_asgi(program), Config(placement=placement)) as runtime:
        assert b"ok" == await _talk(runtime, POST + b"Content-Length: 8\r\n\r\n", b"0123", b"4567")
    assert [b"0123", b"4567"] == seen
    assert [True, True, True] == cancelled
