"""What an application does wrong ends its own unit: in every mode, over both protocols, with default options."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.long]

PACKAGE = Path(__file__).parents[2]
SECONDS = 30

# The names of `failing_apps.ERRORS`: what that module declares is for the servers, not for this process.
ERRORS = (
    "ValueError",
    "CancelledError",
    "GeneratorExit",
    "KeyboardInterrupt",
    "Panic",
    "SystemExit",
    "StopIteration",
    "Unprintable",
    "Group",
)

MODES = {
    "wsgi in tasks": ("wsgi",),
    "wsgi in threads": ("wsgi", "--threads", "2"),
    "wsgi in processes": ("wsgi", "--processes", "1"),
    "wsgi in processes with threads": ("wsgi", "--processes", "1", "--threads", "2"),
    "asgi in tasks": ("asgi",),
    "asgi in processes": ("asgi", "--processes", "1"),
}


class Server:
    """A server with all default options, whose log is a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.http = self.address("http")
        self.packets = self.address("uwsgi")

    def address(self, protocol: str) -> tuple[str, int]:
        """Where it listens, as it says."""
        found = self.said(rf"{protocol} on ([\d.]+):(\d+)")
        return found[1], int(found[2])

    def said(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until its log has this so many times."""
        deadline = time.monotonic() + SECONDS
        while len(found := list(re.finditer(pattern, self.log.read_text()))) < times:
            assert time.monotonic() < deadline, (pattern, times, len(found), self.log.read_text())
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return found[-1]

    def get(self, path: str, *, packet: bool = False) -> int:
        """The status of an answer; 0 where the connection was cut."""
        with socket.create_connection(self.packets if packet else self.http, timeout=SECONDS) as client:
            client.sendall(as_packet(path) if packet else f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            data = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    data += piece
        return int(data.split()[1]) if data else 0


def as_packet(path: str) -> bytes:
    """A request as nginx sends it."""
    pairs = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "REQUEST_URI": path, "SERVER_PROTOCOL": "HTTP/1.1"}
    pairs |= {"QUERY_STRING": "", "SERVER_NAME": "x", "SERVER_PORT": "80", "HTTP_HOST": "x"}
    body = b"".join(struct.pack("<H", len(text)) + text.encode() for pair in pairs.items() for text in pair)
    return struct.pack("<BHB", 0, len(body), 0) + body


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[Server]:
    """A server for the applications of `failing_apps`; it ends well on SIGTERM, however often they failed."""
    app, *options = words
    line = [sys.executable, "-m", "trio_uwsgi", f"tests.real.failing_apps:{app}", *options]
    line += ["--http", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--mules", "1", "--spooler", "jobs", "--mercy", "5"]
    log = folder / "log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [*line, "--harakiri", "20"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PACKAGE)},
            stdout=file,
            stderr=file,
        ) as process,
    ):
        try:
            yield Server(process, log)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0, log.read_text()
        finally:
            process.kill()
    assert "died" not in log.read_text()


@pytest.mark.parametrize("mode", MODES)
def test_a_request_that_fails(tmp_path: Path, mode: str) -> None:
    """Whatever a request raises, wherever it does: its client has 500 or a cut connection, the log has the traceback,
    and all others are served.
    """
    words = MODES[mode]
    places = ("start", "nothing", "step1", "step2", *(["close"] if words[0] == "wsgi" else []))
    with serving(tmp_path, *words) as server:
        slow: list[int] = []
        for name in ERRORS:
            for place in places:
                for packet in (False, True):
                    status = server.get(f"/raise/{name}/{place}", packet=packet)
                    ok = {200} if name == "StopIteration" and place.startswith("step") else {500}
                    if place in ("step2", "close"):
                        ok = {0, 200}  # the head was out
                    elif place == "step1" and words[0] == "asgi":
                        ok = {200}  # a second end of the response is an error, and the first one was sent
                    assert status in ok, (name, place, packet)
            other = threading.Thread(target=lambda: slow.append(server.get("/slow")))
            other.start()
            assert server.get(f"/raise/{name}/start") == 500
            other.join(SECONDS)
            assert server.get("/ok") == server.get("/ok", packet=True) == 200
        assert [200] * len(ERRORS) == slow
        assert "request GET /raise/Panic/start failed: tests.real.failing_apps.Panic: own" in server.log.read_text()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_request_fails(tmp_path: Path, mode: str) -> None:
    """Signal handlers, RPC functions, messages, jobs and hooks may raise what they like, too."""
    with serving(tmp_path, *MODES[mode]) as server:
        for count, name in enumerate(ERRORS, 1):
            assert server.get(f"/handlers/{name}") == 200
            for what in ("worker1: signal 1", "worker1: signal 2", "mule1: message", "spooler1?: job"):
                server.said(f"{what}.* failed: ", count)
            assert server.get("/ok") == 200
        server.said("mule1: message failed: ", 2 * len(ERRORS))
        server.said("spooler1?: job work.* failed: ", 2 * len(ERRORS))


@pytest.mark.parametrize("mode", MODES)
def test_what_is_left_open(tmp_path: Path, mode: str) -> None:
    """A cancel scope or a nursery that a unit leaves open harms nobody who comes after it."""
    kinds = ["leave", "leave-kept", "leave-nursery-kept"]
    if mode.startswith("asgi"):
        # Elsewhere the generator is collected while the task that it belongs to waits, which ends any run of Trio.
        kinds.append("leave-nursery")
    with serving(tmp_path, *MODES[mode]) as server:
        for what in kinds:
            for _ in range(3):
                server.get(f"/leave/{what}")
                server.get(f"/leave/{what}", packet=True)
            assert server.get(f"/handlers/{what}") == 200
            assert [200, 200] == [server.get("/slow"), server.get("/slow", packet=True)], what
        assert "signal 2 failed: trio_uwsgi._units.leftovers.LeftOpen" in server.log.read_text()


@pytest.mark.parametrize("mode", MODES)
def test_a_logging_filter_that_fails(tmp_path: Path, mode: str) -> None:
    """When the application's logging fails, lines are lost, one of them is told, and all else goes on."""
    with serving(tmp_path, *MODES[mode]) as server:
        assert server.get("/ok") == 200
        (tmp_path / "filter").touch()
        statuses = [server.get("/ok"), server.get("/raise/ValueError/start"), server.get("/ok", packet=True)]
        with socket.create_connection(server.http, timeout=SECONDS) as client:
            client.sendall(b"GET  x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        assert [200, 500, 200, 200] == [*statuses, server.get("/ok")]
        server.said("a filter or a handler of logging failed, so this line was lost")


@pytest.mark.parametrize("mode", MODES)
def test_descriptors_that_the_application_closes(tmp_path: Path, mode: str) -> None:
    """Who closes the descriptor of a connection loses that connection; who closes a standard stream does not have the
    log written to a client, which the system would give the number. The log does not need `sys.stderr`.
    """
    with serving(tmp_path, *MODES[mode]) as server:
        for packet in (False, True):
            assert 0 == server.get("/close/connection", packet=packet)
            assert 200 == server.get("/ok", packet=packet)
        server.said(r"the application has closed descriptor \d+, which was the connection of 127.0.0.1:\d+", 2)
        assert 200 == server.get("/close/1")
        assert [200, 200] == [server.get("/ok"), server.get("/ok", packet=True)]
        server.said("the application has closed descriptor 1, a standard stream; it is /dev/null now")
        assert [200, 500] == [server.get("/close/stderr"), server.get("/raise/ValueError/start")]
        server.said("request GET /raise/ValueError/start failed: ValueError: wrong")
        assert 200 == server.get("/close/2")
        assert [200, 500, 200] == [server.get("/ok"), server.get("/raise/ValueError/start"), server.get("/ok")]
