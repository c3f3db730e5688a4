"""A request through the whole runtime, over memory streams and on mock time."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Registry
from trio_uwsgi.errors import ConfigError
from trio_uwsgi.testing import Event, EventLog, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def echo(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Sends the body back, piece by piece."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["raw_path"])]})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


@pytest.mark.parametrize("workers", [1, 3])
@task_placements("the client sends a body of a megabyte before it reads, and sockets are bounded")
async def test_the_client_speaks_real_http(
    placement: Placement, workers: int, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Bodies of all sizes come back whole; connections are kept, and made anew when the server has closed them."""
    async with open_runtime(
        echo, Config(workers=workers, lifespan="off", placement=placement), registry=uwsgi_registry
    ) as runtime:
        for size in (0, 1, 65536, 1_000_000):
            response = await runtime.client.post("/a%20b", content=bytes(size))
            assert bytes(size) == response.content
            assert "/a%20b" == response.headers["x-path"]
        assert 1 == sum(http.connections for http in runtime.statistics().http)
        await trio.sleep(80)  # longer than the keep-alive timeout
        assert 200 == (await runtime.client.get("/")).status_code
        assert 2 == sum(http.connections for http in runtime.statistics().http)
        assert 4 == runtime.log.count("request POST /a%20b")


@all_placements
async def test_connections_by_hand(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """`connect` gives a stream to a worker: requests may be pipelined on it, and the header timeout closes it."""
    config = Config(lifespan="off", header_timeout=5, placement=placement)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime, runtime.connect() as stream:
        await stream.send_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3")
        began = trio.current_time()
        received = b""
        while data := await stream.receive_some():
            received += bytes(data)
        assert [b"/1", b"/2"] == [line[8:] for line in received.split(b"\r\n") if line.startswith(b"x-path: ")]
        assert b"408 Request Timeout" in received
        assert 5 == round(trio.current_time() - began)


@all_placements
async def test_without_an_application_everything_is_404(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A test of timers and mules needs no application."""
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        assert 404 == (await runtime.client.get("/")).status_code


@all_placements
async def test_broken_responses_reach_the_client_as_httpx_errors(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A response that breaks off raises httpx's own exception."""

    async def broken(scope: dict[str, Any], receive: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise RuntimeError("broken")

    config = Config(lifespan="off", placement=placement)
    async with open_runtime(broken, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        with pytest.raises(httpx.RemoteProtocolError):
            await runtime.client.get("/")
        with pytest.raises(httpx.RemoteProtocolError):
            async with runtime.client.stream("GET", "/") as response:
                await response.aread()
    with pytest.raises(RuntimeError, match="broken"):
        async with open_runtime(broken, config, registry=uwsgi_registry) as runtime:
            await runtime.client.get("/")


@all_placements
async def test_time_stands_still_while_a_request_waits_for_a_thread_of_its_own(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`trio.to_thread.run_sync` in an ASGI request takes no virtual time, so no deadline fires meanwhile."""

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        assert scope["type"] == "http"
        if scope["path"] == "/later":
            await trio.sleep(1)
        await trio.to_thread.run_sync(threading.Event().wait, 0.05)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async with open_runtime(app, Config(harakiri=5, placement=placement), registry=uwsgi_registry) as runtime:
        for path, expected in (("/", 0), ("/later", 1)):
            began = trio.current_time()
            assert 200 == (await runtime.client.get(path)).status_code
            assert expected == round(trio.current_time() - began, 6)


async def test_an_application_must_be_callable(uwsgi_registry: Registry) -> None:
    """What cannot be an application is refused before anything starts."""
    with pytest.raises(ConfigError, match="cannot be called"):
        async with open_runtime(42, registry=uwsgi_registry):
            raise AssertionError("it must not start")


def test_the_log_is_sorted_where_luck_would_decide() -> None:
    """Events of one instant are in order of member and kind; of one kind, in the order they happened."""
    log = EventLog()
    for event in [
        Event(1.0, "worker1", "signal 9"),
        Event(1.0, "mule1", "signal 3"),
        Event(1.0, "worker1", "request GET /"),
        Event(1.0, "worker1", "signal 2"),
        Event(0.5, "worker1", "signal 1"),
    ]:
        log.append(event)
    expected = ["signal 1", "signal 3", "request GET /", "signal 9", "signal 2"]
    assert expected == [event.what for event in log]
    assert 5 == len(log)
    assert log == list(log)
    assert log != []
    assert log != "log"
    assert "1.000  mule1       signal 3" in repr(log)
    assert [1.0] == log.times("signal 9", "worker1")
    assert 0 == log.count("signal 9", "mule1")
