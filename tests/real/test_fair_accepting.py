"""Who gets the clients, when workers are processes that wait for the same socket."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.real.commands import body, running

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

APP = """
import os
from trio_uwsgi import uwsgi

async def app(scope, receive, send):
    body = b"%d %d" % (uwsgi.worker_id(), os.getpid())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


WAITING = """
from trio_uwsgi import sync, uwsgi

def app(environ, start_response):
    start_response("200 OK", [])
    yield b"%d" % uwsgi.worker_id()
    if environ["PATH_INFO"] == "/wait":
        sync.async_sleep(60)
"""


@pytest.mark.parametrize("pause", [0.003, 0.0], ids=["one by one", "at once"])
def test_two_workers_have_as_many_clients(tmp_path: Path, pause: float) -> None:
    """Of sixty-four clients that stay, each worker has its half, give or take a fifth."""
    (tmp_path / "fair.py").write_text(APP)
    with running(tmp_path, "fair:app", "-p", "2", "--lifespan", "off") as server, contextlib.ExitStack() as stack:
        socks = []
        for _ in range(64):
            socks.append(stack.enter_context(server.client()))
            time.sleep(pause)
        split = Counter(body(sock).split()[0] for sock in socks)
        assert ["1", "2"] == sorted(split)
        assert max(split.values()) <= 1.2 * 32, split


def test_the_clients_of_a_stopped_worker_go_to_the_other(tmp_path: Path) -> None:
    """A worker that has stopped takes nobody, and nobody waits for it, from the first moment on."""
    (tmp_path / "fair.py").write_text(APP)
    with running(tmp_path, "fair:app", "-p", "2", "--lifespan", "off") as server, contextlib.ExitStack() as stack:
        pids: dict[str, int] = {}
        while len(pids) < 2:
            number, pid = body(stack.enter_context(server.client())).split()
            pids[number] = int(pid)
        os.kill(pids["1"], signal.SIGSTOP)
        began = time.monotonic()
        try:
            served = [body(stack.enter_context(server.client())).split()[0] for _ in range(40)]
        finally:
            os.kill(pids["1"], signal.SIGCONT)
        assert ["2"] * 40 == served
        assert time.monotonic() - began < 10


def test_the_clients_of_workers_whose_requests_wait_go_to_the_other(tmp_path: Path) -> None:
    """A worker whose view waits, and so serves nobody else, takes nobody. Of three, two wait."""
    (tmp_path / "waiting.py").write_text(WAITING)
    with running(tmp_path, "waiting:app", "-p", "3", "--mercy", "0") as server, contextlib.ExitStack() as stack:
        waiting = set()
        for _ in range(2):
            sock = stack.enter_context(socket.create_connection(server.address, timeout=60))
            sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.add(first_chunk(sock))
        served = {first_chunk(stack.enter_context(server.client())) for _ in range(20)}
        assert {"1", "2", "3"} - waiting == served


def first_chunk(sock: socket.socket) -> str:
    """The first chunk of a response."""
    data = b""
    while not re.search(rb"\r\n\r\n1\r\n(.)\r\n", data):
        piece = sock.recv(4096)
        assert piece, data
        data += piece
    return data.partition(b"\r\n\r\n1\r\n")[2][:1].decode()
