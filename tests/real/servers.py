"""The command line as a process with unusual descriptors, terminals and namespaces. It serves on a unix socket, so that
tests need not read its log to find the address.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.process_runtimes import alive, children, descendants

ROOT = Path(__file__).parents[2]
SECONDS = 20.0

MODES = {
    "tasks": (),
    "threads": ("--threads", "3"),
    "processes": ("--processes", "2"),
    "threaded processes": ("--processes", "2", "--threads", "2"),
    "lazy": ("--processes", "2", "--lazy-apps"),
}
# What every application of these tests begins with. A request for /name calls the function `name`, whose text is sent.
PRELUDE = """
import os, signal, sys, time, threading
def app(environ, start_response):
    body = str(globals()[environ["PATH_INFO"][1:] or "hello"]()).encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]
def hello():
    return "hello"
def pid():
    return os.getpid()
"""

every_mode = pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=() if mode in ("tasks", "processes") else pytest.mark.long) for mode in MODES]
)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Server:
    """A running server. `log` is the file of its standard error, unless that is something else."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.socket = str(folder / "s")
        self.log = folder / "log"

    @property
    def said(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def connection(self, seconds: float = SECONDS) -> UnixConnection:
        """A new client."""
        return UnixConnection(self.socket, seconds)

    def get(self, path: str = "/hello", seconds: float = SECONDS) -> str:
        """The body of one request on a connection of its own, or its status where that is no 200."""
        connection = self.connection(seconds)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            return body if response.status == 200 else str(response.status)
        finally:
            connection.close()

    def wait_for(self, *texts: str, seconds: float = SECONDS) -> str:
        """Wait until its output has all of these."""
        until(lambda: all(text in self.said for text in texts), seconds, lambda: self.said)
        return self.said

    def end(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send it a posix signal, and wait for its end."""
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end\n{self.said}") from None


def until(condition: Callable[[], object], seconds: float = 20, say: Callable[[], object] = lambda: "") -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to that in time\n{say()}"
        time.sleep(0.02)


def write(folder: Path, source: str) -> None:
    """The application, in `app.py`."""
    (folder / "app.py").write_text(PRELUDE + textwrap.dedent(source))


def command(mode: str, *words: str) -> list[str]:
    """The command line of a server."""
    return [sys.executable, "-m", "trio_uwsgi", "app:app", "--http", "unix:s", *MODES[mode], *words]


def environment() -> dict[str, str]:
    """Its environment variables."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def serving(
    folder: Path, source: str, mode: str, *words: str, prefix: tuple[str, ...] = (), **how: Any
) -> Iterator[Server]:
    """A server of this application, killed at the end with all that is below it.

    Args:
        prefix: what its command line stands behind.
        how: for `subprocess.Popen`.
    """
    write(folder, source)
    with (folder / "log").open("ab") as log:
        how.setdefault("stderr", log)
        how.setdefault("stdout", subprocess.DEVNULL)
        how.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen([*prefix, *command(mode, *words)], cwd=folder, env=environment(), **how)
    server = Server(process, folder)
    below: list[int] = []
    try:
        until(lambda: answers(server), SECONDS, lambda: server.said)
        below += descendants(process.pid)
        yield server
    finally:
        below += descendants(process.pid) if process.poll() is None else []
        process.kill()
        process.wait(30)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def answers(server: Server) -> bool:
    """Whether it serves."""
    assert server.process.poll() is None, server.said
    with contextlib.suppress(OSError, http.client.HTTPException):
        return server.get() == "hello"
    return False


def zombies(pid: int) -> list[int]:
    """The processes below this one that have ended and are not reaped."""
    return [child for child in descendants(pid) if Path(f"/proc/{child}").exists() and not alive(child)]


def process_one(pid: int) -> int:
    """Process 1 of the namespace that `unshare`, this process, has made."""
    until(lambda: children(pid))
    return children(pid)[0]


UNSHARE = ("unshare", "-Urfp", "--mount-proc", "--kill-child")


def may_unshare() -> bool:
    """Whether this system allows a process to be process 1 of a namespace."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL, check=False, timeout=30).returncode == 0


as_process_one = pytest.mark.skipif(not may_unshare(), reason="this system does not allow namespaces of processes")
