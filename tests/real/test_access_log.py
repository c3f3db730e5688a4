"""The access log of real servers: no line is lost at a stop, and a log that nobody reads stops no request."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trio_uwsgi._protocol.packet import WSGI, encode_packet, encode_vars
from trio_uwsgi._units.log_handler import KEPT

pytestmark = pytest.mark.real

PACKAGE = Path(__file__).parents[2]
SECONDS = 60
APP = """
import logging, os
logger = logging.getLogger("shop")

def wsgi(environ, start_response):
    if environ["PATH_INFO"].startswith("/said"):
        logger.info("%s of process %d", environ["PATH_INFO"], os.getpid())
    start_response("200 OK", [("Content-Length", "2"), ("X-Process", str(os.getpid()))])
    return [b"ok"]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"].startswith("/said"):
            logger.info("%s of process %d", scope["path"], os.getpid())
        headers = [(b"content-length", b"2"), (b"x-process", b"%d" % os.getpid())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
"""
MODES = {
    "asgi in tasks": ("shop:asgi",),
    "threads": ("shop:wsgi", "--threads", "4"),
    "processes": ("shop:asgi", "--processes", "2"),
    "inline": ("shop:wsgi", "--processes", "2"),
    "processes with threads": ("shop:wsgi", "--processes", "2", "--threads", "2"),
}
all_modes = pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.long) for mode in MODES if mode != "inline"] + ["inline"]
)


class Served:
    """A server, the pid of its process, and its addresses."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> str:
        """Wait until the log has this, and give back what it has."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.text())):
            assert time.monotonic() < deadline, (pattern, self.text()[-2000:])
            assert self.process.poll() is None, self.text()
            time.sleep(0.02)
        return found[0]

    def connect(self, protocol: str = "http") -> socket.socket:
        """A connection to its port."""
        port = self.wait_for(rf"{protocol} on 127.0.0.1:\d+").rpartition(":")[2]
        return socket.create_connection(("127.0.0.1", int(port)), timeout=SECONDS)


def get(client: socket.socket, path: str) -> int:
    """Ask, and give back the process that has answered."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    data = b""
    while not data.endswith(b"\r\n\r\nok"):
        piece = client.recv(65536)
        assert piece
        data += piece
    (number,) = re.findall(rb"X-Process: (\d+)", data, re.IGNORECASE)
    return int(number)


@contextlib.contextmanager
def served(folder: Path, *words: str, stderr: int | None = None) -> Iterator[Served]:
    """A server whose log is a file, or goes to `stderr`."""
    (folder / "shop.py").write_text(APP)
    line = [sys.executable, "-m", "trio_uwsgi", *words, "--http", "127.0.0.1:0", "--socket", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    with (folder / "log").open("ab") as log:
        given = log if stderr is None else stderr
        process = subprocess.Popen(line, cwd=folder, env=environment, stderr=given, start_new_session=True)
    try:
        yield Served(process, folder / "log")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(SECONDS)


@all_modes
def test_no_line_is_lost_at_a_stop(mode: str, tmp_path: Path) -> None:
    """Each request has its line, those over the uwsgi protocol, too; and lines of one process are in their order."""
    with served(tmp_path, *MODES[mode]) as server:
        server.wait_for("of process")
        for number in range(30):
            with server.connect() as client:
                get(client, f"/said/{number}")
                get(client, f"/quiet/{number}")
            with server.connect("uwsgi") as client:
                pairs = {b"REQUEST_METHOD": b"GET", b"PATH_INFO": b"/packet", b"REQUEST_URI": b"/packet/%d" % number}
                client.sendall(encode_packet(WSGI, 0, encode_vars(pairs.items())))
                while client.recv(65536):
                    continue
        server.process.terminate()
        assert 0 == server.process.wait(SECONDS)
        text = server.text()
    for kind in ("said", "quiet", "packet"):
        found = re.findall(rf'"GET /{kind}/(\d+) HTTP/1\.\d" 200 2b', text)
        assert list(map(str, range(30))) == sorted(found, key=int)
    for number in range(30):
        of_the_application = text.index(f"/said/{number} of process")
        assert of_the_application < text.index(f'"GET /said/{number} ') < text.index(f'"GET /quiet/{number} ')


@all_modes
def test_a_log_that_nobody_reads(mode: str, tmp_path: Path) -> None:
    """Requests are answered all the same. Once somebody reads, what was kept is there, and how many lines are not."""
    reader, writer = os.pipe()
    with served(tmp_path, *MODES[mode], stderr=writer) as server:
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as pipe, server.log.open("ab", buffering=0) as log:
            while b"of process" not in server.log.read_bytes():
                log.write(pipe.read(65536))
            path = "/" + "x" * 900
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(server.connect()) for _ in range(4)]
                for number in range(KEPT // 900):
                    for client in clients:
                        get(client, f"{path}{number}")
            while b"lines of the access log that were dropped" not in server.log.read_bytes():
                log.write(pipe.read(65536))
            server.process.terminate()
            while data := pipe.read(65536):
                log.write(data)
        text = server.text()
        assert 0 == server.process.wait(SECONDS)
    lines = [line for line in text.splitlines() if "/xxx" in line]
    assert all(re.fullmatch(rf'\S+ \S+ INFO    \S+ - "GET {path}\d+ HTTP/1.1" 200 2b \S+ms', line) for line in lines)
    dropped = sum(map(int, re.findall(r"dropped here: (\d+); nobody has read the log", text)))
    assert 4 * (KEPT // 900) == len(lines) + dropped


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    """At most the lines of one turn of its event loop are lost."""
    with served(tmp_path, "shop:wsgi", "--processes", "1") as server, server.connect() as client:
        for number in range(20):
            worker = get(client, f"/{number}")
        os.kill(worker, signal.SIGKILL)
        server.wait_for("killed by SIGKILL|died")
        found = re.findall(r'"GET /(\d+) HTTP/1.1" 200', server.text())
    assert list(map(str, range(19))) == found[:19]
