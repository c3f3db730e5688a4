"""A WSGI application that talks over WebSockets, behind a real server in each mode."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from tests.real.process_runtimes import alive, descendants
from tests.real.servers import Server, serving, until
from trio_uwsgi._testing.websocket_client import WebSocketClosed, open_websocket

pytestmark = pytest.mark.real

SOURCE = """
import uwsgi

def app(environ, start_response):
    if environ["PATH_INFO"] == "/hello":
        start_response("200 OK", [])
        return [b"hello"]
    uwsgi.websocket_handshake(environ["HTTP_SEC_WEBSOCKET_KEY"], environ.get("HTTP_ORIGIN", ""))
    uwsgi.websocket_send(f"worker {uwsgi.worker_id()}")
    try:
        if environ["PATH_INFO"] == "/poll":
            poll()
        if environ["PATH_INFO"] == "/late":
            late()
        while True:
            message = uwsgi.websocket_recv()
            uwsgi.websocket_send_binary(message)
    except OSError as error:
        uwsgi.log(f"{type(error).__name__}: {error}")
        raise

def late():
    fd = uwsgi.connection_fd()
    try:
        uwsgi.websocket_recv()
    except OSError:
        uwsgi.wait_fd_read(fd, 60)
        uwsgi.suspend()
        uwsgi.websocket_recv_nb()

def poll():
    fd = uwsgi.connection_fd()
    while True:
        uwsgi.wait_fd_read(fd, 60)
        uwsgi.suspend()
        while message := uwsgi.websocket_recv_nb():
            uwsgi.websocket_send(message)
"""


async def talk(server: Server, path: str, *, end: int) -> None:
    """Say something and hear it; with a posix signal, which the server gets, wait for the close that it causes."""
    stream = await trio.open_unix_socket(server.socket)
    async with open_websocket(lambda: stream, path, host="h", subprotocols=(), headers=(), deflate=True) as ws:
        assert str(await ws.receive()).startswith("worker ")
        for size in (1, 100_000):
            await ws.send("x" * size)
            assert ("x" * size if path == "/poll" else b"x" * size) == await ws.receive()
        if end:
            server.process.send_signal(end)
            with pytest.raises(WebSocketClosed) as caught:
                await ws.receive()
            assert (1001 if end == signal.SIGTERM else 1012) == caught.value.code


async def leave(server: Server) -> None:
    """Close before the application waits for the connection's descriptor."""
    stream = await trio.open_unix_socket(server.socket)
    async with open_websocket(lambda: stream, "/late", host="h", subprotocols=(), headers=(), deflate=True) as ws:
        await ws.receive()
    await trio.to_thread.run_sync(server.wait_for, "unable to receive websocket message")


@pytest.mark.parametrize("mode", ["tasks", "threads", "processes", "threaded processes"])
async def test_messages_and_ends(mode: str, tmp_path: Path) -> None:
    """Messages go both ways, waited for or asked for; a reload and a stop are told, and the application ends."""
    with serving(tmp_path, SOURCE, mode) as server, trio.fail_after(200):
        # A worker answers before all have started, and until then a reload is refused.
        await trio.to_thread.run_sync(server.wait_for, "http on")
        await talk(server, "/wait", end=0)
        await talk(server, "/poll", end=0)
        await leave(server)
        if "processes" in mode:
            old = descendants(server.process.pid)
            await talk(server, "/poll", end=signal.SIGHUP)
            # Until it has heard of the reload, another old worker may accept.
            await trio.to_thread.run_sync(until, lambda: not any(map(alive, old)))
        await talk(server, "/wait", end=signal.SIGTERM)
        assert 0 == await trio.to_thread.run_sync(server.process.wait, 60)
    assert "OSError: unable to receive websocket message: the WebSocket is closed: 1001" in server.said
    assert "Traceback" not in server.said
