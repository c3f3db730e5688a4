"""A worker's share of new connections: the numbers it publishes, and when it delays accepting."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from trio_uwsgi import sync
from trio_uwsgi._http.accept_share import Share
from trio_uwsgi._http.fair_reactor import serve_fairly
from trio_uwsgi._http.listeners import Listener, open_listeners
from trio_uwsgi._link.scoreboard import Row, Scoreboard
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.connections import SocketOptions

pytestmark = pytest.mark.real

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def rows() -> Iterator[list[Row]]:
    """The rows of two workers; the second worker exists only as numbers in the scoreboard."""
    with contextlib.closing(Scoreboard.make(2, 1)) as scoreboard:
        yield scoreboard.rows


def accepting(row: Row, connections: int) -> None:
    """Let a worker be there, with so many connections."""
    row.set("heartbeat", time.monotonic())
    row.set("accepting", 1)
    row.set("open", connections)


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, open_http: Any, nursery: trio.Nursery, rows: list[Row]
) -> AsyncIterator[Any]:
    """The first worker: `world.address` is where it listens. It runs `hello`, or inline the application of a test."""
    app = request.param() if hasattr(request, "param") else hello
    world = await (open_http(app) if app is hello else open_http(app, interface="wsgi", threads=0))
    world.app = app
    world.streams = []
    world.leave = trio.Event()

    async def run(task_status: Any) -> None:
        async with open_listeners([Address.parse("127.0.0.1:0")], SocketOptions(backlog=64, mode=None)) as listeners:
            world.listener = listeners[0]
            world.address = listeners[0].socket.getsockname()
            task_status.started()
            await serve_fairly(Share(rows[0], rows[1:]), world.service, listeners)
        world.leave.set()

    await nursery.start(run)
    yield world
    for stream in world.streams:
        await trio.aclose_forcefully(stream)


async def request(world: Any) -> tuple[trio.SocketStream, float]:
    """A client that stays, and the seconds until it had its answer."""
    began = trio.current_time()
    stream = await trio.open_tcp_stream(*world.address)
    world.streams.append(stream)
    await stream.send_all(GET)
    with trio.fail_after(5):
        assert b"hello" in await stream.receive_some()
    return stream, trio.current_time() - began


async def until(row: Row, connections: int) -> None:
    """Wait until the scoreboard has this number of open connections."""
    with trio.fail_after(5):
        while row.get("open") != connections:  # noqa: ASYNC110  # there is no event for it
            await trio.sleep(0.001)


async def test_connections_are_in_the_scoreboard_at_once(world: Any, rows: list[Row]) -> None:
    """The number has changed when a client has its answer, and when it has disconnected."""
    streams = [(await request(world))[0] for _ in range(3)]
    assert 3 == rows[0].get("open")
    for left, stream in enumerate(streams):
        await stream.aclose()
        await until(rows[0], 2 - left)


def test_only_workers_that_can_accept_count(rows: list[Row]) -> None:
    """A worker that stopped, is blocked, or accepts no more does not delay the others."""
    share = Share(rows[0], rows[1:])
    share.set_open(9)
    accepting(rows[1], 1)
    assert 0.002 == pytest.approx(share.accept_delay())
    rows[1].set("heartbeat", time.monotonic() - 1.1)
    assert 0 == share.accept_delay()
    accepting(rows[1], 1)
    rows[1].set("accepting", 0)
    assert 0 == share.accept_delay()
    rows[1].clear()
    assert 0 == share.accept_delay()


async def test_a_worker_with_more_waits_once_and_then_accepts(world: Any, rows: list[Row]) -> None:
    """Clients that the other worker does not accept are accepted after one delay each, though the mean stays below."""
    accepting(rows[1], 0)
    clients = []
    for _ in range(12):
        rows[1].set("heartbeat", time.monotonic())
        clients.append(await request(world))
    assert 12 == rows[0].get("open")
    assert min(seconds for _, seconds in clients[4:]) >= 0.001


async def test_at_the_limit_of_connections_peers_do_not_wait_for_us(world: Any, rows: list[Row]) -> None:
    """A worker that is full says that it does not accept, and accepts again when one of its connections has ended."""
    world.service._most_connections = 2
    streams = [(await request(world))[0] for _ in range(2)]
    assert 0 == rows[0].get("accepting")
    waiting = await trio.open_tcp_stream(*world.address)
    world.streams.append(waiting)
    await waiting.send_all(GET)
    with trio.move_on_after(0.1):
        assert not await waiting.receive_some()
    assert 2 == rows[0].get("open")
    await streams[0].aclose()
    with trio.fail_after(5):
        assert b"hello" in await waiting.receive_some()
    await waiting.aclose()
    await until(rows[0], 1)
    assert 1 == rows[0].get("accepting")


async def test_clients_are_served_while_accepting_is_delayed(world: Any, rows: list[Row]) -> None:
    """Accepted clients are answered during the delay, which does not start again each time."""
    accepting(rows[1], 0)
    streams = [(await request(world))[0] for _ in range(8)]
    rows[1].set("heartbeat", time.monotonic())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, world)
        for _ in range(200):
            await streams[0].send_all(GET)
            assert b"hello" in await streams[0].receive_some()
    assert 9 == rows[0].get("open")


async def test_a_burst_is_accepted_one_by_one(world: Any, rows: list[Row]) -> None:
    """Many clients at once, which no other worker accepts, are all served, even if the other worker has stopped."""
    accepting(rows[1], 0)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(request, world)
    assert 60 == world.service.statistics().connections


async def test_a_worker_that_stops_accepting_is_not_waited_for(world: Any, rows: list[Row]) -> None:
    """Others do not wait for a worker that drains; it accepts the clients that it has delayed before it stops."""
    accepting(rows[1], 0)
    streams = [(await request(world))[0] for _ in range(8)]
    assert 1 == rows[0].get("accepting")
    last = await trio.open_tcp_stream(*world.address)
    await last.send_all(GET)
    world.service.drain()
    assert 0 == rows[0].get("accepting")
    with trio.fail_after(5):
        assert b"hello" in await last.receive_some()
        for stream in [*streams, last]:
            await stream.aclose()
        await world.leave.wait()
    assert 0 == rows[0].get("open")


async def test_a_worker_without_file_descriptors_is_not_waited_for(
    world: Any, rows: list[Row], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without free file descriptors it does not accept, and others do in its place; afterwards it takes part again."""
    failures = iter([OSError(24, "Too many open files")])
    accept = Listener.accept

    def fail_once(listener: Listener) -> tuple[socket.socket, object]:
        for failure in failures:
            raise failure
        return accept(listener)

    monkeypatch.setattr(Listener, "accept", fail_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, world)
        with trio.fail_after(5):
            while rows[0].get("accepting"):  # noqa: ASYNC110  # there is no event for it
                await trio.sleep(0.001)
    assert 1 == rows[0].get("accepting")
    assert "cannot accept" in caplog.text


class Waiting:
    """A WSGI application whose requests wait until the test ends them."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.end = trio.Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.begun.set()
        sync.wait(self.end.wait)
        start_response("200 OK", [])
        return [b"hello"]


@contextlib.asynccontextmanager
async def occupied(world: Any, rows: list[Row]) -> AsyncIterator[trio.SocketStream]:
    """In the block a request waits in the worker, and a second client was not accepted; afterwards the requests end."""
    accepting(rows[1], 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, world)
        await world.app.begun.wait()
        async with await trio.open_tcp_stream(*world.address) as client:
            await client.send_all(GET)
            await trio.sleep(0.05)
            assert 1 == rows[0].get("open")
            yield client
        world.app.end.set()


inline = pytest.mark.parametrize("world", [Waiting], indirect=True)


@inline
async def test_a_worker_whose_request_waits_accepts_nobody(world: Any, rows: list[Row]) -> None:
    """The client is left to the peers until the request has ended, also by a resume after a pause."""
    async with occupied(world, rows) as client:
        world.service.pause(True)
        world.service.pause(False)
        await trio.sleep(0.01)
        assert 1 == rows[0].get("open")
        world.app.end.set()
        with trio.fail_after(5):
            assert b"hello" in await client.receive_some()


def naps(environ: Any, start_response: Any) -> list[bytes]:
    """A WSGI application whose requests wait for a moment."""
    sync.wait(trio.sleep, 0.001)
    start_response("200 OK", [])
    return [b"hello"]


@pytest.mark.parametrize("world", [lambda: naps], indirect=True, ids=["naps"])
async def test_a_client_with_many_requests_keeps_nobody_out(world: Any, rows: list[Row]) -> None:
    """Between two of its requests another client is accepted, which has its turn."""
    accepting(rows[1], 0)
    stream, _ = await request(world)
    await stream.send_all(GET * 500)
    await request(world)
    assert 500 > world.service.statistics().requests


@inline
async def test_it_leaves_the_client_to_its_peers_when_it_drains(world: Any, rows: list[Row]) -> None:
    """The other worker accepts it, as it would have done before."""
    async with occupied(world, rows):
        world.service.drain(others_serve=True)
        client, _ = world.listener.socket.accept()
        client.close()
        world.app.end.set()
        with trio.fail_after(5):
            await world.leave.wait()
    assert 1 == world.service.statistics().connections


@inline
async def test_another_node_is_accepted_after_a_while(
    world: Any, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker can answer its packets, so two workers that ask each other do not wait for ever."""
    monkeypatch.setattr("trio_uwsgi._http.fair_reactor.PATIENCE", 0.05)
    accepting(rows[1], 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, world)
        await world.app.begun.wait()
        world.listener.protocol = "uwsgi"
        async with await trio.open_tcp_stream(*world.address):
            await until(rows[0], 2)
        world.app.end.set()
