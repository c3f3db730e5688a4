"""Real servers for the tests beside this file: a uWSGI, and ours from the command line, each in a folder of its own.

Both run one application that executes commands (`apps/uwsgi_node.py`, `apps/trio_node.py`), so that a test can tell
either of them to call the other, and compares the answers as Python values: bytes exactly, None apart from b"".
`benchmarks/` uses this module too.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"
TIMEOUT = 30.0  # seconds for whatever is waited for; nothing here takes a tenth of it

# Below the ports that the kernel hands out to clients, which would take one between its choice and its use.
_PORTS = iter(range(20_000 + os.getpid() % 8_000, 32_000))
# UDP sockets of the same numbers, which keep other processes that run tests at the same time from choosing them, too.
_CHOSEN: list[socket.socket] = []


class Raised(NamedTuple):
    """What a node's command raised, as the name of the class and the text."""

    name: str
    text: str


def find_program(*names: str) -> str | None:
    """The path of the first of these programs, beside this Python or on PATH; None if there is none of them."""
    for name in names:
        beside = Path(sys.executable).parent / name
        if os.access(beside, os.X_OK):
            return str(beside)
        if found := shutil.which(name):
            return found
    return None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that no other process gets from here while this one lives."""
    for port in _PORTS:
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as sock, contextlib.suppress(OSError):
            claim.bind(("127.0.0.1", port))
            sock.bind(("127.0.0.1", port))
            _CHOSEN.append(claim)
            return port
        claim.close()
    raise AssertionError("no port is free")


def can_connect(address: str) -> bool:
    """Does somebody listen at this host:port or path?"""
    family, target = where(address)
    with socket.socket(family) as sock:
        sock.settimeout(TIMEOUT)
        return sock.connect_ex(target) == 0


def where(address: str) -> tuple[socket.AddressFamily, Any]:  # Any: what a socket of the family connects to
    """The family and the socket's form of a host:port or a path."""
    if "/" in address:
        return socket.AF_UNIX, address
    host, _, port = address.rpartition(":")
    return socket.AF_INET, (host, int(port))


def exchange(address: str, request: bytes, piece: int = 1 << 20) -> bytes:
    """Connect, send, and give back all that arrives before the server closes.

    Args:
        address: host:port or a path.
        request: all bytes of it.
        piece: the bytes of each write.
    """
    family, target = where(address)
    received = bytearray()
    with socket.socket(family) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(target)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A server that refuses may leave bytes of ours unread, which resets the connection.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for at in range(0, len(request), piece):
                sock.sendall(request[at : at + piece])
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(1 << 16):
                received += data
    return bytes(received)


class Program:
    """A server process with a process group of its own, and its log.

    Args:
        command: what is run.
        folder: its working directory, and where its log goes.
        listens: the addresses that accept connections once it is ready.
    """

    def __init__(self, command: Sequence[str], folder: Path, listens: Sequence[str]) -> None:
        self.log = folder / "log"
        self._listens = listens
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        for address in self._listens:
            while not can_connect(address):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise AssertionError(f"{self.process.args!r} does not listen on {address}:\n{self.log.read_text()}")
                time.sleep(0.01)

    def wait_for_log(self, text: str, start: int = 0) -> str:
        """Wait until the log has the text, or the patience ends; give back the log.

        Args:
            text: what is waited for.
            start: characters of the log that are left out, as they are older.
        """
        deadline = time.monotonic() + TIMEOUT
        while text not in (log := self.log.read_text()[start:]) and time.monotonic() < deadline:
            time.sleep(0.01)
        return log

    def stop(self) -> int:
        """Ask it to end, and give back its exit code; whatever is left of its group is killed."""
        self.process.terminate()
        try:
            return self.process.wait(TIMEOUT)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and all processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


class Once:
    """Starts each program when it is first asked for, and no second time one that failed."""

    def __init__(self) -> None:
        self._outcomes: dict[str, object] = {}

    def get(self, name: str, start: Callable[[], T]) -> T:
        """The program of that name.

        Args:
            name: always given with the same `start`.
            start: what starts it, or fails with an AssertionError.
        """
        if name not in self._outcomes:
            try:
                self._outcomes[name] = start()
            except AssertionError as error:
                self._outcomes[name] = error
        outcome = self._outcomes[name]
        if isinstance(outcome, AssertionError):
            raise AssertionError(f"{name} did not start, see the first test that needed it") from outcome
        return cast("T", outcome)


class Node(Program):
    """A server whose application executes commands.

    Args:
        kind: "uwsgi" or "ours".
        command: what is run, without the options that say where it listens.
        folder: its working directory.
    """

    def __init__(self, kind: str, command: Sequence[str], folder: Path) -> None:
        self.kind = kind
        self.port = free_port()
        self.tcp, self.unix = f"127.0.0.1:{free_port()}", str(folder / "node.sock")
        http_option = "--http-socket" if kind == "uwsgi" else "--http"
        listen = [http_option, f"127.0.0.1:{self.port}", "--socket", self.tcp, "--socket", self.unix]
        super().__init__([*command, *listen], folder, [f"127.0.0.1:{self.port}", self.tcp, self.unix])

    def at(self, over: str) -> str:
        """Its address for the uwsgi protocol, over "tcp" or "unix"."""
        return self.tcp if over == "tcp" else self.unix

    def run(self, command: str, *args: object) -> Any:  # Any: whatever the command returns
        """Have the node call a function, and give back what it returned, or `Raised`.

        Args:
            command: `rpc`, `remote_signal`, a cache function, or another of the node's own.
            args: literals.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.request("POST", "/", repr((command, args)).encode())
            response = connection.getresponse()
            body = response.read()
        assert 200 == response.status, (body, self.log.read_text())
        outcome, value = ast.literal_eval(body.decode())
        return Raised(*value) if outcome == "raised" else value

    def wait_for(self, expected: object, command: str, *args: object) -> Any:  # Any: as in run()
        """Repeat a command until it returns what is expected, or the patience ends; give back the last answer."""
        deadline = time.monotonic() + TIMEOUT
        while (answer := self.run(command, *args)) != expected and time.monotonic() < deadline:
            time.sleep(0.01)
        return answer


def uwsgi_command(uwsgi: str, app: str, *options: str) -> list[str]:
    """The command line of a real uWSGI with a Python application of ours.

    One process with threads: the application can count in plain memory, and executes a command while it serves others.
    """
    command = [uwsgi, "--master", "--die-on-term", "--need-app", "--wsgi-file", str(APPS / app)]
    return [*command, "--processes", "1", "--threads", "4", "--buffer-size", "65535", "--disable-logging", *options]


def our_command(app: str, *options: str) -> list[str]:
    """The command line of ours."""
    return [sys.executable, "-m", "trio_uwsgi", str(APPS / app), "--disable-logging", "--threads", "4", *options]


CACHES = ("--cache2", "name=c1,items=100", "--cache2", "name=c2,items=100,blocksize=128")


@contextlib.contextmanager
def uwsgi_node(uwsgi: str, folder: Path) -> Iterator[Node]:
    """A real uWSGI that executes commands; killed at the end."""
    node = Node("uwsgi", uwsgi_command(uwsgi, "uwsgi_node.py", *CACHES), folder)
    try:
        yield node
    finally:
        node.kill()


@contextlib.contextmanager
def our_node(folder: Path) -> Iterator[Node]:
    """Ours, executing commands; stopped gracefully at the end, which must end well."""
    node = Node("ours", our_command("trio_node.py", *CACHES), folder)
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    assert 0 == node.stop(), node.log.read_text()
