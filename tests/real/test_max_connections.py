"""`max_connections` of a real server: it counts over all listeners, and workers that have room serve."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.real.servers import SECONDS, every_mode, serving
from trio_uwsgi._protocol.packet import encode_packet, encode_vars

pytestmark = pytest.mark.real

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
PACKET = encode_packet(0, 0, encode_vars([(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/hello")]))


def connect(path: Path) -> socket.socket:
    """A client of a unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)
    sock.connect(str(path))
    return sock


def answer(sock: socket.socket) -> bytes:
    """What is received up to the end of the body."""
    received = b""
    while not received.endswith(b"\r\n\r\nhello"):
        received += (data := sock.recv(1000))
        assert data, received
    return received


@every_mode
def test_connections_beyond_the_limit_wait(tmp_path: Path, mode: str) -> None:
    """As many clients are served as the workers may have, whatever they speak; the next one when one has left."""
    workers = 2 if "processes" in mode or mode == "lazy" else 1
    with serving(tmp_path, "", mode, "--max-connections", "1", "--socket", "unix:u") as server:
        clients = []
        for _ in range(workers):
            clients.append(sock := connect(tmp_path / "s"))
            sock.sendall(GET)
            assert answer(sock).startswith(b"HTTP/1.1 200")
        waiting = {name: connect(tmp_path / name) for name in ("s", "u")}
        waiting["s"].sendall(GET)
        waiting["u"].sendall(PACKET)
        for sock in waiting.values():
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(SECONDS)
        for sock in clients:
            sock.sendall(GET)
            assert answer(sock).startswith(b"HTTP/1.1 200")
        clients.pop().close()
        for sock in waiting.values():  # one after the other, as each of them leaves
            assert b"200 OK" in answer(sock)
            sock.close()
        for sock in clients:
            sock.close()
        assert "hello" == server.get()
        assert 0 == server.end()
