"""The command line as a process, for tests of what members in processes do."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
SECONDS = 20


class Command:
    """A running server. `said` is what it has printed so far, `address` where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        self.address: tuple[str, int]

    def read(self, *words: str) -> None:
        """Read until each of these was printed.

        Raises:
            AssertionError: they were not, in time or before its end.
        """
        assert self.process.stdout is not None
        deadline = time.monotonic() + SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not all(word in self.said for word in words):
                assert selector.select(max(0, deadline - time.monotonic())), self.said
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, self.said
                self.said += data.decode()

    def client(self) -> socket.socket:
        """A new client, which has sent a request."""
        sock = socket.create_connection(self.address, timeout=SECONDS)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return sock


def ended(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    """What Python has printed that was run with this line in a folder, and its exit code."""
    return subprocess.run(
        [sys.executable, *line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def running(
    folder: Path, *words: str, code: int = 0, access_log: bool = False, python: str = sys.executable
) -> Iterator[Command]:
    """`trio-uwsgi` with these words, in this folder, on a free port of loopback; stopped at the end.

    Raises:
        AssertionError: it does not serve in time, or its exit code is another one.
    """
    line = [python, "-m", "trio_uwsgi", *words, "--http", "127.0.0.1:0"]
    line += [] if access_log else ["--disable-logging"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        command = Command(process)
        try:
            command.read("s of process")
            found = re.search(r"http on ([\d.]+):(\d+)", command.said)
            assert found is not None
            command.address = found[1], int(found[2])
            yield command
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=SECONDS)
            command.said += rest
            assert process.returncode == code, command.said
        finally:
            process.kill()


def body(sock: socket.socket) -> str:
    """The body of a small response."""
    data = b""
    while b"\r\n\r\n" not in data or data.endswith(b"\r\n\r\n"):
        piece = sock.recv(4096)
        assert piece, data
        data += piece
    return data.partition(b"\r\n\r\n")[2].decode()
