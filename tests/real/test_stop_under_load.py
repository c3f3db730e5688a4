"""A graceful stop under load: requests that were sent are answered."""

from __future__ import annotations

import socket
import threading
from functools import partial

import pytest
import trio

import trio_uwsgi
from trio_uwsgi import Config, Registry

pytestmark = pytest.mark.real

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope: dict[str, object], receive: object, send: object) -> None:
    """A small answer, after a moment."""
    await trio.sleep(0.001)
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"hello"})  # type: ignore[operator]


class Client(threading.Thread):
    """Sends one request after another on one connection until the server closes it; counts those not answered."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.answered = self.lost = 0

    def run(self) -> None:
        """Be the client."""
        with self.socket:
            while True:
                received = b""
                try:
                    self.socket.sendall(REQUEST)
                    while not received.endswith(b"hello"):
                        data = self.socket.recv(65536)
                        if not data:
                            raise ConnectionError
                        received += data
                except ConnectionError:
                    # Between two requests a server may close: only what it answered in part is lost for good.
                    self.lost += bool(received)
                    return
                self.answered += 1
                if b"connection: close" in received:
                    return


async def test_every_client_gets_its_answer(nursery: trio.Nursery) -> None:
    """Sixteen keep-alive clients that never pause are told to leave by their last answer; the port is free at once."""
    serve = partial(trio_uwsgi.serve, registry=Registry())
    config = Config(http="127.0.0.1:0", lifespan="off", disable_logging=True)
    runtime = await nursery.start(serve, hello, config)
    port = runtime.addresses[0].port
    clients = [Client(port) for _ in range(16)]
    for client in clients:
        client.start()
    await trio.sleep(0.3)
    late = socket.create_connection(("127.0.0.1", port), timeout=20)  # has connected, and not said anything yet
    await trio.sleep(0.05)
    runtime.stop()
    await trio.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=20)
    late.sendall(REQUEST)
    with trio.fail_after(20):
        await runtime._tree.ended.wait()
    for client in clients:
        client.join(20)
    assert 0 == sum(client.lost for client in clients)
    assert all(client.answered for client in clients)
    with late:
        assert late.recv(65536).startswith(b"HTTP/1.1 200 OK")
