"""Async cores as applications and WSGI generators use them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_uwsgi
from tests.api.cancelling import cancel_everywhere
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import ClientDisconnected, NodeUnreachable, NotServing
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi_exchange import Receive, Send


async def test_the_first_of_many(autojump_clock: trio.testing.MockClock) -> None:
    """A descriptor that is ready, a timeout, a sleep; afterwards nothing is registered."""
    left, right = socket.socketpair()
    other, _far = socket.socketpair()
    with left, right, other, _far:
        uwsgi.wait_fd_read(left.fileno())
        uwsgi.wait_fd_read(other.fileno(), 5)
        began = trio.current_time()
        await uwsgi.suspend()
        assert (-1, 5) == (uwsgi.ready_fd(), trio.current_time() - began)
        right.send(b"x")
        uwsgi.wait_fd_read(left.fileno())
        uwsgi.wait_fd_read(other.fileno())
        uwsgi.async_sleep(100)
        await uwsgi.suspend()
        assert left.fileno() == uwsgi.ready_fd()
        await uwsgi.wait_fd_write(left.fileno())
        assert left.fileno() == uwsgi.ready_fd()
        await uwsgi.async_sleep(0.5)
        assert (-1, 5.5) == (uwsgi.ready_fd(), trio.current_time() - began)
        await uwsgi.suspend()
        assert 5.5 == trio.current_time() - began


async def test_a_descriptor_has_one_waiter(autojump_clock: trio.testing.MockClock) -> None:
    """The second gets an error, the first still waits, and closing wakes it."""
    left, right = socket.socketpair()
    woken = []

    async def first() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await uwsgi.wait_fd_read(left.fileno())
        woken.append(trio.current_time())

    with right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.sleep(1)
            for others in (0, 1):
                for _ in range(others):
                    uwsgi.wait_fd_read(right.fileno())
                uwsgi.wait_fd_read(left.fileno())
                with pytest.raises(trio.BusyResourceError, match="another task waits for descriptor"):
                    await uwsgi.suspend()
            assert [] == woken
            uwsgi.close(left.detach())
    assert 1 == len(woken)


def test_what_cannot_be_waited_for(tmp_path: Path) -> None:
    """Closed descriptors, files, times in the past; a wait counts once."""

    async def main() -> None:
        closed = os.dup(0)
        os.close(closed)
        with open(tmp_path / "file", "w") as file:
            for fd in (-1, closed, file.fileno(), "x", 2**40):
                with pytest.raises(OSError, match="cannot be waited for"):
                    uwsgi.wait_fd_read(fd)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="0 or more seconds"):
            uwsgi.async_sleep(-1)
        wait = uwsgi.async_sleep(0)
        await wait
        with pytest.raises(RuntimeError, match="committed before"):
            await wait
        with pytest.raises(OSError, match="Bad file descriptor"):
            uwsgi.close(closed)

    trio.run(main)


async def test_cancelled_waits_leave_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Wherever `suspend` is cancelled, the descriptors can be waited for again at once."""
    left, right = socket.socketpair()
    with left, right:

        async def wait() -> None:
            uwsgi.wait_fd_read(left.fileno(), 1)
            uwsgi.wait_fd_read(right.fileno(), 1)
            await uwsgi.suspend()

        async for _ in cancel_everywhere(wait):
            with trio.move_on_after(0.1):
                await trio.lowlevel.wait_readable(left.fileno())


@pytest.mark.real
async def test_connect_send_and_receive(tmp_path: Path, descriptors: Callable[[], int]) -> None:
    """Over TCP and a unix socket, more than a buffer holds; errors say what is wrong; a cancel leaves nothing open."""

    async def echo(stream: trio.SocketStream) -> None:
        async with stream:
            total = 0
            while data := await stream.receive_some():
                total += len(data)
                if total >= 1_000_000:
                    await stream.send_all(b"%d" % total)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        fd = await uwsgi.async_connect(address)
        assert not os.get_blocking(fd)
        await uwsgi.send(fd, b"x" * 1_000_000)
        assert b"1000000" == await uwsgi.recv(fd, 100)
        assert uwsgi.is_connected(fd)
        uwsgi.close(fd)
        before = descriptors()

        async def connect() -> None:
            uwsgi.close(await uwsgi.async_connect(address))

        async for _ in cancel_everywhere(connect):
            pass
        await trio.sleep(0.1)
        assert before >= descriptors()
        nursery.cancel_scope.cancel()
    for unreachable in (address, str(tmp_path / "none")):
        with pytest.raises(NodeUnreachable, match="no connection"):
            await uwsgi.async_connect(unreachable)
    with pytest.raises(TypeError, match="encode it first"):
        await uwsgi.send(3, "text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 or more"):
        await uwsgi.recv(3, 0)
    for call in (uwsgi.connection_fd, uwsgi.disconnect, uwsgi.is_connected):
        with pytest.raises(NotServing):
            call()


async def test_a_wsgi_generator_waits_by_yield(autojump_clock: trio.testing.MockClock) -> None:
    """It waits for time and for descriptors; its environ says how a wait ended; harakiri cancels such a wait."""
    left, right = socket.socketpair()
    found: list[Any] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        yield uwsgi.async_sleep(2)
        found.append((environ["uwsgi.ready_fd"], environ["x-wsgiorg.fdevent.timeout"], uwsgi.ready_fd()))
        start_response("200 OK", [])
        uwsgi.wait_fd_read(left.fileno(), 5)
        yield b""
        found.append((environ["uwsgi.ready_fd"] == left.fileno(), environ["x-wsgiorg.fdevent.timeout"]))
        yield b"body"
        if environ["PATH_INFO"] == "/stuck":
            yield uwsgi.async_sleep(1000)

    with left, right:
        right.send(b"x")
        async with open_runtime(app, Config(harakiri=10)) as runtime:
            began = trio.current_time()
            assert "body" == (await runtime.client.get("/")).text
            assert 2 == round(trio.current_time() - began, 3)
            assert [(None, True, -1), (True, None)] == found
            with pytest.raises(Exception, match=r".*"):
                await runtime.client.get("/stuck")
            assert 12 == round(trio.current_time() - began, 3)


async def test_a_handler_continues_without_its_client(autojump_clock: trio.testing.MockClock) -> None:
    """What was sent arrives, what is sent later is an error, and the handler ends as usual."""
    done: list[object] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        assert uwsgi.is_connected()
        assert -1 == uwsgi.connection_fd()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        uwsgi.disconnect()
        assert not uwsgi.is_connected()
        await trio.sleep(3)
        with pytest.raises(ClientDisconnected, match=r"uwsgi\.disconnect"):
            await send({"type": "http.response.body", "body": b"late"})
        done.append(trio.current_time())

    async with open_runtime(app) as runtime:
        assert "ok" == (await runtime.client.get("/")).text
        await trio.sleep(5)
    assert 1 == len(done)


async def test_raw_bytes_around_the_response(autojump_clock: trio.testing.MockClock) -> None:
    """The body in pieces of any size, and a response in another protocol, which ends the connection."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        pieces = []
        while piece := await uwsgi.recv(4):
            pieces.append(piece)
        await uwsgi.send(b"RAW " + b"|".join(pieces))

    async with open_runtime(app) as runtime:
        stream = runtime.connect()
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789")
        answer = b""
        while data := await stream.receive_some():
            answer += bytes(data)
        assert b"RAW 0123|4567|89" == answer


@pytest.mark.real
async def test_the_descriptor_of_a_connection(uwsgi_registry: Registry) -> None:
    """Closing it is disconnecting: the runtime owns it."""
    found: list[int] = []

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        found.append(uwsgi.connection_fd())
        uwsgi.close(uwsgi.connection_fd())

    async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
        config = Config(http="127.0.0.1:0")
        await trio_uwsgi.serve(app, config, registry=uwsgi_registry, task_status=task_status)

    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(start)
        stream = await trio.open_tcp_stream("127.0.0.1", runtime.addresses[0].port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"" == await stream.receive_some()
        runtime.stop()
    assert found[0] > 2


@pytest.mark.parametrize("abandon", [False, True])
async def test_a_thread_waits_again_and_again(autojump_clock: trio.testing.MockClock, abandon: bool) -> None:
    """Also one that may be abandoned: each of its calls is made by another task."""
    took: list[float] = []

    def thread() -> None:
        for seconds in (1, 2, 3):
            uwsgi.async_sleep(seconds)
            began = trio.from_thread.run_sync(trio.current_time)
            trio.from_thread.run(uwsgi.suspend)
            took.append(trio.from_thread.run_sync(trio.current_time) - began)

    await trio.to_thread.run_sync(thread, abandon_on_cancel=abandon)
    assert [1, 2, 3] == [round(seconds) for seconds in took]


async def test_receiving_takes_no_more_memory_than_there_is_to_receive() -> None:
    """Any length may be given; the buffer is bounded."""
    left, right = socket.socketpair()
    with left, right:
        for length in (10**12, 2**70):
            right.send(b"abc")
            assert b"abc" == await uwsgi.recv(left.fileno(), length)


async def test_any_thread_of_trio_may_close() -> None:
    """It wakes the tasks that wait, also without a runtime."""
    left, right = socket.socketpair()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await uwsgi.wait_fd_read(left.fileno())
        left.detach()

    with right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(uwsgi.close, left.fileno())


async def test_asking_about_a_descriptor_leaves_its_mode() -> None:
    """Whatever timeout the application's sockets have by default, a descriptor that is asked about blocks as before."""
    near, far = socket.socketpair()
    with near, far:
        socket.setdefaulttimeout(5)
        try:
            assert uwsgi.is_connected(near.fileno())
        finally:
            socket.setdefaulttimeout(None)
        assert os.get_blocking(near.fileno())
