"""WebSockets of a WSGI application behind nginx's `proxy_pass`."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.interop.fronts import _find
from tests.interop.peers import Program, free_port
from tests.interop.test_http_proxies import NGINX
from trio_uwsgi import Config, Registry, serve
from trio_uwsgi._testing.websocket_client import open_websocket
from trio_uwsgi.compat import websockets

pytestmark = pytest.mark.real


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Say everything back until the client closes."""
    websockets.websocket_handshake(environ["HTTP_SEC_WEBSOCKET_KEY"], environ.get("HTTP_ORIGIN", ""))
    while True:
        websockets.websocket_send(websockets.websocket_recv())


async def test_behind_nginx(tmp_path: Path) -> None:
    """Messages go both ways, compressed or not, on several connections at once."""
    port = free_port()
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    async with trio.open_nursery() as nursery:
        config = Config(http="127.0.0.1:0", threads=3)
        runtime = await nursery.start(partial(serve, registry=Registry()), app, config)
        names = {"nginx": port, "plain": runtime.addresses[0].port, "user": user, "folder": tmp_path}
        (tmp_path / "nginx.conf").write_text(NGINX.format(**names))
        web = [_find("nginx"), "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
        program = await trio.to_thread.run_sync(Program, web, tmp_path, [f"127.0.0.1:{port}"])
        try:
            with trio.fail_after(60):
                async with trio.open_nursery() as clients:
                    for deflate in (True, False, True):
                        clients.start_soon(talk, port, deflate)
        finally:
            program.kill()
            runtime.stop()


async def talk(port: int, deflate: bool) -> None:
    """Say something and hear it."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with open_websocket(lambda: stream, "/", host="h", subprotocols=(), headers=(), deflate=deflate) as ws:
        for message in ("hello", "x" * 100_000, "ä"):
            await ws.send(message)
            assert message == await ws.receive()
