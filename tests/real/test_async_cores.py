"""Async cores on real sockets: the client's descriptor, raw bytes through the reactor, errors of real connections."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_uwsgi
from tests.api.cancelling import cancel_everywhere
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import ClientDisconnected, ConfigError, NodeUnreachable

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi_exchange import Receive, Send

pytestmark = pytest.mark.real

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _asgi(program: Callable[[], Awaitable[None]]) -> object:
    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await program()

    return app


@contextlib.asynccontextmanager
async def _served(app: object) -> AsyncIterator[Callable[[], Awaitable[trio.SocketStream]]]:
    """Run a runtime on a free port; gives what opens a connection to it."""

    async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
        config = Config(http="127.0.0.1:0")
        await trio_uwsgi.serve(app, config, registry=Registry(), task_status=task_status)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            runtime: trio_uwsgi.Runtime = await nursery.start(start)
            yield partial(trio.open_tcp_stream, "127.0.0.1", runtime.addresses[0].port)
            runtime.stop()


async def _read_all(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while more := await stream.receive_some():
        data += more
    return bytes(data)


async def test_the_clients_descriptor_is_the_client() -> None:
    """Waiting for it, receiving from it and sending to it are the runtime's own ways, so nothing is lost in between."""
    ready: list[bool] = []

    async def program() -> None:
        fd = uwsgi.connection_fd()
        await uwsgi.send(fd, b"go ")
        for _ in range(2):
            uwsgi.wait_fd_read(fd, 5)
            await uwsgi.suspend()
            ready.append(uwsgi.ready_fd() == fd)
            await uwsgi.send(fd, b"<" + await uwsgi.recv(fd, 100) + b">")
            await uwsgi.wait_fd_write(fd)

    async with _served(_asgi(program)) as connect, await connect() as stream:
        await stream.send_all(GET)
        assert b"go " == await stream.receive_some()
        await stream.send_all(b"one")
        assert b"<one>" == await stream.receive_some()
        await stream.send_all(b"two")
        assert b"<two>" == await _read_all(stream)
    assert [True, True] == ready


async def test_waiting_for_a_client_to_leave() -> None:
    """A request without a body: its client's descriptor becomes ready when the client goes, and not before."""
    steps: list[tuple[bool, bool]] = []
    done = trio.Event()

    async def program() -> None:
        fd = uwsgi.connection_fd()
        for timeout in (0.05, 5):
            await uwsgi.wait_fd_read(fd, timeout)
            steps.append((uwsgi.ready_fd() == fd, uwsgi.is_connected()))
        uwsgi.disconnect()
        done.set()

    async with _served(_asgi(program)) as connect:
        async with await connect() as stream:
            await stream.send_all(GET)
            await trio.sleep(0.2)
        await done.wait()
    assert [(False, True), (True, False)] == steps


async def test_the_number_of_a_closed_connection_is_kept() -> None:
    """Until the request ends, no other connection gets it, so that the request cannot read or close that one."""
    found: list[object] = []
    arrived, others, done = trio.Event(), trio.Event(), trio.Event()

    async def program() -> None:
        if arrived.is_set():
            found.append(uwsgi.connection_fd())
            return
        fd = uwsgi.connection_fd()
        uwsgi.disconnect()
        arrived.set()
        await others.wait()
        await uwsgi.wait_fd_read(fd, 5)
        assert (fd, fd) == (uwsgi.ready_fd(), uwsgi.connection_fd())
        with pytest.raises(ClientDisconnected):
            await uwsgi.send(fd, b"to a stranger")
        uwsgi.close(fd)
        assert fd not in found
        found.append("end")
        done.set()

    async with _served(_asgi(program)) as connect:
        before = _descriptors()
        async with await connect() as stream:
            await stream.send_all(GET)
            assert b"" == await _read_all(stream)
        streams = [await connect() for _ in range(5)]
        for stream in streams:
            await stream.send_all(GET)
            await stream.receive_some()
        others.set()
        await done.wait()
        for stream in streams:
            await stream.aclose()
        with trio.fail_after(10):
            while True:
                if _descriptors() <= before:
                    break
                await trio.sleep(0.01)
    assert 6 == len(found)


async def test_a_generator_waits_for_its_body() -> None:
    """By the client's descriptor, in a thread, whether the body came with the head or later."""

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        start_response("200 OK", [("Connection", "close")])
        got = b""
        while len(got) < 6:
            uwsgi.wait_fd_read(uwsgi.connection_fd(), 5)
            yield b""
            assert environ["uwsgi.ready_fd"] == uwsgi.connection_fd()
            got += trio.from_thread.run(uwsgi.recv, 4)
        yield got

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    async with _served(app) as connect:
        for first, second in ((head + b"abcdef", b""), (head, b"abcdef"), (head + b"ab", b"cdef")):
            async with await connect() as stream:
                await stream.send_all(first)
                await trio.sleep(0.05)
                if second:
                    await stream.send_all(second)
                assert b"abcdef" in await _read_all(stream)


async def test_a_large_raw_answer_to_a_slow_client() -> None:
    """Sending waits for the client; all of it arrives, before the connection ends."""
    size = 16_000_000
    took: list[bool] = []

    async def program() -> None:
        began = trio.current_time()
        for _ in range(8):
            await uwsgi.send(b"x" * (size // 8))
        took.append(trio.current_time() - began > 0.1)

    async with _served(_asgi(program)) as connect, await connect() as stream:
        await stream.send_all(GET)
        await trio.sleep(0.2)
        assert size == len(await _read_all(stream))
    assert [True] == took


async def test_sending_and_receiving_cancelled_everywhere() -> None:
    """No descriptor is left, and the next call may wait at once."""
    left, right = socket.socketpair()
    left.setblocking(False)
    with left, right:
        with contextlib.suppress(BlockingIOError):
            while True:
                left.send(b"x" * 65536)
        before = _descriptors()

        async def send() -> None:
            with trio.move_on_after(0.02):
                await uwsgi.send(left.fileno(), b"y")

        async def receive() -> None:
            with trio.move_on_after(0.02):
                await uwsgi.recv(left.fileno(), 1)

        for call in (send, receive):
            async for _ in cancel_everywhere(call):
                assert before == _descriptors()
                await call()


async def test_a_second_task_on_one_descriptor() -> None:
    """It gets an error that names the descriptor, and the first goes on; a peer that is gone is an error, too."""
    left, right = socket.socketpair()
    got: list[bytes] = []

    async def first() -> None:
        got.append(await uwsgi.recv(left.fileno(), 10))

    with left, right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match=f"waits for descriptor {left.fileno()} already"):
                await uwsgi.recv(left.fileno(), 10)
            right.send(b"mine")
        right.close()
        with pytest.raises(BrokenPipeError):
            await uwsgi.send(left.fileno(), b"x")
    assert [b"mine"] == got


async def test_connections_that_cannot_be_made(tmp_path: Path) -> None:
    """Each error names the address, and no descriptor is left."""
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
        path = str(tmp_path / "full.sock")
        full.bind(path)
        full.listen(0)
        waiting.connect(path)
        before = _descriptors()
        for address in (path, "127.0.0.1:1", "x" * 70 + ".invalid:80", "@nobody-listens-here"):
            with pytest.raises(NodeUnreachable, match=r"no connection|looked up") as caught:
                await uwsgi.async_connect(address)
            assert address == caught.value.node
        for address in ("fd://0", ":80", "127.0.0.1:0", "127.0.0.1", ""):
            with pytest.raises(ConfigError):
                await uwsgi.async_connect(address)
        assert before == _descriptors()


async def test_an_abstract_socket() -> None:
    """It is connected to by its name, without a file."""
    name = f"trio-uwsgi-cores-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        fd = await uwsgi.async_connect("@" + name)
        with listener.accept()[0] as accepted:
            await uwsgi.send(fd, b"hello")
            assert b"hello" == accepted.recv(10)
        assert b"" == await uwsgi.recv(fd, 1)
        uwsgi.close(fd)


async def test_what_is_no_descriptor() -> None:
    """Wrong types and kinds are errors at once, and leave no descriptor."""
    ends = os.pipe()
    before = _descriptors()
    with pytest.raises(OSError, match="is not a socket"):
        uwsgi.is_connected(ends[0])
    with pytest.raises(OSError, match="Bad file descriptor"):
        uwsgi.is_connected(10_000)
    for wrong in ("3", 3.0, True):
        with pytest.raises(TypeError, match="is an int"):
            await uwsgi.send(wrong, b"x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is an int"):
            await uwsgi.recv(wrong)  # type: ignore[arg-type]
    assert before == _descriptors()
    for fd in ends:
        uwsgi.close(fd)


def test_any_thread_may_close_where_no_runtime_runs() -> None:
    """There is nobody to wake."""
    for fd in os.pipe():
        thread = threading.Thread(target=uwsgi.close, args=(fd,))
        thread.start()
        thread.join(60)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
