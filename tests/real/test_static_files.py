"""Downloads of files from real servers: while they stop and reload, and with flat memory."""

from __future__ import annotations

import random
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.real.commands import SECONDS, Command, running
from tests.real.process_runtimes import descendants

pytestmark = [pytest.mark.real, pytest.mark.processes]

DATA = random.Random(14).randbytes(8_000_000)
APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"asked"]
"""


def begin(command: Command, path: str) -> tuple[socket.socket, bytes]:
    """Ask for a file over a small window, and read its first bytes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.settimeout(SECONDS)
    sock.connect(command.address)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return sock, sock.recv(1000)


def body_of(sock: socket.socket, data: bytes) -> bytes:
    """The rest of a response, to the end of the connection."""
    pieces = [data]
    with sock:
        while piece := sock.recv(65536):
            pieces.append(piece)
    return b"".join(pieces).partition(b"\r\n\r\n")[2]


def test_a_stop_waits_for_downloads(tmp_path: Path) -> None:
    """A slow client gets its file to the end, and then the server ends."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "file").write_bytes(DATA)
    with running(tmp_path, "app.py", "--static-map", f"/s={tmp_path}", "--processes", "2") as command:
        clients = [begin(command, "/s/file") for _ in range(5)]
        command.process.send_signal(signal.SIGTERM)
        command.read("SIGTERM")
        time.sleep(0.2)
        for client in clients:
            assert DATA == body_of(*client)
        assert 0 == command.process.wait(timeout=SECONDS)


def test_a_reload_waits_for_downloads(tmp_path: Path) -> None:
    """Clients of the old workers get their files to the end, while the new ones serve."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "file").write_bytes(DATA)
    with running(tmp_path, "app.py", "--static-map", f"/s={tmp_path}", "--processes", "2") as command:
        clients = [begin(command, "/s/file") for _ in range(5)]
        command.process.send_signal(signal.SIGHUP)
        command.read("reloaded in")
        assert DATA == body_of(*begin(command, "/s/file"))
        for client in clients:
            assert DATA == body_of(*client)


@pytest.mark.long
def test_memory_is_flat(tmp_path: Path) -> None:
    """A file of 256 MiB goes to three clients at once, and to others meanwhile, without memory for it."""
    size = 256 * 1024 * 1024
    (tmp_path / "app.py").write_text(APP)
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)
    (tmp_path / "small").write_bytes(b"small")

    def peak() -> int:
        found = [Path(f"/proc/{pid}/status").read_text() for pid in descendants(command.process.pid)]
        return sum(int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) * 1024 for status in found)

    def download() -> None:
        sock, data = begin(command, "/s/file")
        received = len(data) - len(data.partition(b"\r\n\r\n")[0]) - 4
        buffer = bytearray(1 << 20)
        with sock:
            while count := sock.recv_into(buffer):
                received += count
        sizes.append(received)

    with running(tmp_path, "app.py", "--static-map", f"/s={tmp_path}", "--processes", "1") as command:
        assert b"small" == body_of(*begin(command, "/s/small"))
        before = peak()
        sizes: list[int] = []
        threads = [threading.Thread(target=download) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert b"small" == body_of(*begin(command, "/s/small"))
            time.sleep(0.05)
        assert [size] * 3 == sizes
        assert peak() - before < 8 * 1024 * 1024
