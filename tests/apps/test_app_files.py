"""Files that applications send: `wsgi.file_wrapper` in threads and inline, and the messages of ASGI."""

from __future__ import annotations

import gzip
import io
import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.services import Client, Opener, World
from trio_uwsgi._apps.app_files import wrapped_file
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._http.open_file import OpenFile
from trio_uwsgi._http.reactor import serve_sockets
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.connections import SocketOptions

BIG = random.Random(14).randbytes(1_200_000)


@pytest.fixture
async def held() -> AsyncIterator[None]:
    """A mock clock stands still while a thread reads a file."""
    with hold_clock():
        yield


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    return path


def test_what_is_a_real_file(big: Path, tmp_path: Path) -> None:
    """Files that are open for reading bytes, from their position on; nothing that changes what it reads."""

    def found(filelike: Any, at: int = 0) -> tuple[int, int] | None:
        with filelike:
            if at:
                filelike.read(at)
            wrapped = wrapped_file(filelike)
            return None if wrapped is None else (wrapped.offset, wrapped.size)

    size = len(BIG)
    assert (0, size) == found(big.open("rb"))
    assert (10, size - 10) == found(big.open("rb"), 10)
    assert (10, size - 10) == found(big.open("rb", 0), 10)
    assert (0, size) == found(big.open("r+b"))
    for make in (tempfile.TemporaryFile, tempfile.NamedTemporaryFile):
        file = make()
        file.write(BIG)  # not flushed
        file.seek(5)
        assert (5, size - 5) == found(file)
    packed = tmp_path / "packed.gz"
    with gzip.open(packed, "wb", 0) as out:
        out.write(BIG)
    assert None is found(gzip.GzipFile(packed))
    assert None is found(io.BytesIO(BIG))
    assert None is found(big.open("rb"), size - 100)  # short
    assert None is found(big.open("r"))
    assert None is found(tempfile.SpooledTemporaryFile(max_size=1 << 30))  # noqa: SIM115 - `found` closes it
    here, there = os.pipe()
    os.close(there)
    assert None is found(os.fdopen(here, "rb"))
    closed = big.open("rb")
    closed.close()
    assert None is wrapped_file(closed)


def test_a_file_is_regular(tmp_path: Path) -> None:
    """Anything else is refused, and closed."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="not a regular file"):
        OpenFile(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


# ----- WSGI

Serve = Callable[..., Any]


@pytest.fixture(params=["threads", "inline"])
def serve_wsgi(request: pytest.FixtureRequest, open_http: Opener) -> Serve:
    """A service for a WSGI application on a real socket, in each way to run one; and a client."""

    async def serve(app: Any, **more: Any) -> tuple[World, SocketClient]:
        world = await open_http(app, interface="wsgi", threads=0 if request.param == "inline" else 2, **more)
        return world, await connected(world)

    return serve


class SocketClient(Client):
    """A client, and the port that it connected to."""

    def __init__(self, port: int, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.port = port


def leave(port: int) -> None:
    """In a thread: a client that reads a part of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(1000)


async def connected(world: World) -> SocketClient:
    """A client on a socket of the reactor."""
    port: int = await world.nursery.start(_listen, world)
    return SocketClient(port, await trio.open_tcp_stream("127.0.0.1", port))


async def _listen(world: World, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    async with open_listeners([Address.tcp("127.0.0.1", 0)], SocketOptions(backlog=10, mode=None)) as listeners:
        task_status.started(listeners[0].socket.getsockname()[1])
        await serve_sockets(world.service, listeners)


def wrapping(path: Path, *headers: tuple[str, str], at: int = 0, closed: list[bool] | None = None) -> Any:
    """An application that returns a wrapped file."""

    def app(environ: Any, start_response: Any) -> Any:
        file = path.open("rb")
        file.seek(at)
        start_response("200 OK", list(headers))
        wrapper = environ["wsgi.file_wrapper"](file, 1000)
        if closed is not None:
            close = wrapper.close

            def noticed() -> None:
                close()
                closed.append(file.closed)

            wrapper.close = noticed
        return wrapper

    return app


@pytest.mark.real
@pytest.mark.parametrize(
    ("headers", "at", "end"),
    [
        ([], 0, len(BIG)),
        ([], 1000, len(BIG)),
        ([("Content-Length", "300000")], 500, 300_500),
        ([("Content-Length", str(len(BIG) - 7))], 7, len(BIG)),
        ([("Content-Length", "100")], 0, 100),
        ([("Content-Length", "0")], 0, 0),
    ],
)
async def test_a_wrapped_file(serve_wsgi: Serve, big: Path, headers: list[tuple[str, str]], at: int, end: int) -> None:
    """It is sent from its position, as far as the Content-Length says; without one the length is known all the same."""
    closed: list[bool] = []
    expected = BIG[at:end]
    world, client = await serve_wsgi(wrapping(big, *headers, at=at, closed=closed))
    with trio.fail_after(20):
        for _ in range(2):
            answer = await client.get()
            assert expected == answer.body
            assert str(len(expected)) == answer.headers["content-length"]
        await client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.headers["content-length"] == (await client.response("HEAD")).headers["content-length"]
    await client.close()
    world.service.drain()
    await world.service.wait_drained()
    assert [True] * 3 == closed


@pytest.mark.real
async def test_a_wrapped_file_that_is_too_short(serve_wsgi: Serve, big: Path) -> None:
    """A Content-Length that the file does not reach is an error, before anything is sent."""
    world, client = await serve_wsgi(wrapping(big, ("Content-Length", str(len(BIG) + 1))))
    with trio.fail_after(20):
        assert 500 == (await client.get()).status
        assert ["the body is shorter than its content-length"] == list(map(str, world.journal.failures))
    await client.close()
    world.service.drain()


@pytest.mark.real
async def test_a_client_that_leaves(serve_wsgi: Serve, big: Path) -> None:
    """The file is closed, and that is no failure of the application."""
    closed: list[bool] = []
    world, client = await serve_wsgi(wrapping(big, closed=closed))
    with trio.fail_after(20):
        big.write_bytes(BIG * 10)
        await client.close()
        await trio.to_thread.run_sync(leave, client.port)
        while world.service.running:  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.01)
    assert ([], [True]) == (world.journal.failures, closed)
    world.service.drain()


async def test_a_wrapped_file_on_a_stream(open_http: Opener, big: Path, held: None, autojump_clock: Any) -> None:
    """On memory streams it is read and sent."""
    world = await open_http(wrapping(big, at=3), interface="wsgi", threads=2)
    assert BIG[3:] == (await world.connect().get()).body


# ----- ASGI


def sending(*messages: dict[str, Any], headers: Any = ()) -> Any:
    """An application that sends these messages after the head."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert {"http.response.pathsend", "http.response.zerocopysend"} <= set(scope["extensions"])
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        for message in messages:
            await send(message)

    return app


def path_of(path: Path) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


@pytest.mark.real
@pytest.mark.parametrize("stream", [True, False])
async def test_pathsend(open_http: Opener, big: Path, stream: bool) -> None:
    """A file by its path is the whole body; its length is added, and HEAD has it, too."""
    small = big.parent / "small"
    small.write_bytes(b"small")
    for path, expected in ((big, BIG), (small, b"small")):
        for headers in ([], [(b"content-length", b"%d" % len(expected))]):
            world = await open_http(sending(path_of(path), headers=headers))
            client = world.connect() if stream else await connected(world)
            with trio.fail_after(20):
                answer = await client.get()
                assert (expected, str(len(expected))) == (answer.body, answer.headers["content-length"])
                await client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert str(len(expected)) == (await client.response("HEAD")).headers["content-length"]
            await client.close()
            world.service.drain()


@pytest.mark.real
@pytest.mark.parametrize("stream", [True, False])
async def test_zerocopysend(open_http: Opener, big: Path, stream: bool) -> None:
    """Parts of an open file, in pieces, between other pieces, from its position or an offset."""
    with big.open("rb", 0) as file:
        copy = {"type": "http.response.zerocopysend"}
        app = sending(
            {**copy, "file": file, "count": 100, "more_body": True},
            {**copy, "file": file.fileno(), "count": 300_000, "more_body": True},
            {"type": "http.response.body", "body": b"between", "more_body": True},
            {**copy, "file": file, "offset": 5, "count": 200_000, "more_body": True},
            {**copy, "file": file, "count": 0, "more_body": True},
            {**copy, "file": file},
        )
        world = await open_http(app)
        client = world.connect() if stream else await connected(world)
        with trio.fail_after(20):
            body = (await client.get()).body
        assert BIG[:300_100] + b"between" + BIG[5:200_005] + BIG[300_100:] == body
        assert len(BIG) == file.tell()
    await client.close()
    world.service.drain()


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"type": "http.response.pathsend", "path": "/nowhere/at/all"}], "No such file or directory"),
        ([{"type": "http.response.pathsend", "path": "/dev/null"}], "is not a regular file"),
        ([{"type": "http.response.zerocopysend", "file": 99_999}], "Bad file descriptor"),
    ],
)
async def test_files_that_are_none(open_http: Opener, messages: Any, problem: str, autojump_clock: Any) -> None:
    """The application gets the error of the system; its client a 500."""
    world = await open_http(sending(*messages))
    assert 500 == (await world.connect().get()).status
    assert problem in str(world.journal.failures)


async def test_wrong_orders(open_http: Opener, big: Path, held: None, autojump_clock: Any) -> None:
    """A file before the head, one that does not fit the length, and one after the end are errors that say so."""

    async def headless(scope: Any, receive: Any, send: Any) -> None:
        await send(path_of(big))

    length = [(b"content-length", b"5")]
    for app, status, problem in (
        (headless, 500, "http.response.pathsend before http.response.start"),
        (sending(path_of(big), headers=length), 500, "the body is longer than its content-length"),
        (sending(path_of(big), path_of(big)), 200, "the response is complete"),
    ):
        world = await open_http(app)
        assert status == (await world.connect().get()).status
        assert problem in str(world.journal.failures)


async def test_trailers_after_a_file(open_http: Opener, big: Path, held: None, autojump_clock: Any) -> None:
    """Trailers follow a file as they follow any body; a second file after the last one is an error."""

    def app_of(*messages: dict[str, Any]) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
            for message in messages:
                await send(message)

        return app

    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]}
    with big.open("rb") as file:
        piece = {"type": "http.response.zerocopysend", "file": file, "offset": 0, "count": 100_000}
        for message, expected in ((path_of(big), BIG), (piece, BIG[:100_000])):
            client = (await open_http(app_of(message, trailers))).connect()
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await client.read_all()
            assert answer.endswith(b"\r\n0\r\nx-sum: 5\r\n\r\n")
            assert sum(len(part) for part in answer.split(expected[-50:])[:-1]) > len(expected) - 50
        world = await open_http(app_of(path_of(big), path_of(big)))
        client = world.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.read_all()
        assert "http.response.pathsend after the end of the body" in str(world.journal.failures)


async def test_a_cancelled_file(open_http: Opener, big: Path, held: None, autojump_clock: Any) -> None:
    """An application that gives up in the middle of a file has no complete response: the client's is cut."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with trio.move_on_after(5):
            await send(path_of(big))

    world = await open_http(app)
    client = world.connect(narrow=100_000)
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(BIG) > len(await client.read_all()) > 0
    assert "without completing its response" in str(world.journal.failures)
