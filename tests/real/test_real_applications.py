"""Flask and Starlette, unmodified, served by the command line on a TCP port and a unix socket, with curl, httpx and raw
sockets.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
MIB = 1 << 20


class Server:
    """A server process and where it listens."""

    def __init__(self, app: str, folder: Path) -> None:
        self.socket = folder / "http.sock"
        self.log = folder / "log"
        command = [sys.executable, "-m", "trio_uwsgi", f"{HERE / 'apps.py'}:{app}", "--http", "127.0.0.1:0"]
        command += ["--http", str(self.socket), "--threads", "2", "--harakiri", "60", "--disable-logging"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.port = self._wait_for_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"http on 127\.0\.0\.1:(\d+)(?s:.*)worker", self.log.read_text()):
                return int(found[1])
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def rss(self) -> int:
        """Resident memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s*(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def stop(self) -> None:
        """Stop it gracefully; it must end well."""
        self.process.terminate()
        assert 0 == self.process.wait(20), self.log.read_text()
        assert not self.socket.exists()


@pytest.fixture(params=["flask_app", "starlette_app"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of one application, stopped after the module's tests of it."""
    server = Server(request.param, tmp_path_factory.mktemp(request.param))
    yield server
    server.stop()


@pytest.mark.parametrize("over", ["tcp", pytest.param("unix", marks=pytest.mark.long)])
def test_curl_gets_and_posts(server: Server, over: str, curl: str) -> None:
    """curl gets the small answer, a HEAD without a body, and posts with a length and chunked."""
    where = ["--unix-socket", str(server.socket)] if over == "unix" else []

    def run(*options: str) -> str:
        return subprocess.run(
            [curl, "-sS", "--max-time", "20", *where, *options], check=True, capture_output=True, text=True, timeout=60
        ).stdout

    assert "hello" == run(f"{server.url}/")
    assert run("-I", f"{server.url}/").startswith("HTTP/1.1 200 OK")
    assert "11" == run("-d", "hello=world", f"{server.url}/up")
    assert "11" == run("-d", "hello=world", "-H", "Transfer-Encoding: chunked", f"{server.url}/up")
    assert "11" == run("-d", "hello=world", "-H", "Expect: 100-continue", f"{server.url}/up")
    assert "hello" == run("--http1.0", f"{server.url}/")
    assert "404" == run("-o", "/dev/null", "-w", "%{http_code}", f"{server.url}/nothing")


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_a_hundred_mebibytes_up_and_down_in_flat_memory(server: Server, over: str) -> None:
    """100 MiB are received and sent without being kept: the server's memory stays where it was."""
    transport = httpx.HTTPTransport(uds=str(server.socket) if over == "unix" else None)
    with httpx.Client(transport=transport, timeout=60) as client:
        assert "hello" == client.get(f"{server.url}/").text
        before = peak = server.rss()
        answer = client.post(f"{server.url}/up", content=(bytes(65536) for _ in range(1600)))
        assert str(100 * MIB) == answer.text
        peak = max(peak, server.rss())
        received = 0
        with client.stream("GET", f"{server.url}/down/1600") as response:
            for index, piece in enumerate(response.iter_raw(65536)):
                received += len(piece)
                if index % 100 == 0:
                    peak = max(peak, server.rss())
        assert 100 * MIB == received
        print(f"RSS before {before / MIB:.1f} MiB, at most {peak / MIB:.1f} MiB")
        assert peak - before < 8 * MIB


def test_ten_thousand_keep_alive_requests(server: Server) -> None:
    """One connection serves 10,000 requests, pipelined 50 at a time, and answers each in order."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        for _ in range(200):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            received = b""
            while received.count(b"hello") < 50:
                data = client.recv(65536)
                assert data, received
                received += data
            assert 50 == received.count(b"HTTP/1.1 200 OK")
            assert received.endswith(b"hello")


def test_a_client_that_leaves_costs_nothing(server: Server) -> None:
    """Clients that go away in the middle of a download or an upload leave the server as it was."""
    before = server.rss()
    get = b"GET /down/1600 HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nxxx"
    for request in (get, post % 1_000_000, post % 2_000_000):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
                client.sendall(request)
                client.recv(1) if request is get else None
    assert "hello" == httpx.get(f"{server.url}/", timeout=20).text
    assert server.rss() - before < 16 * MIB
    assert "Traceback" not in server.log.read_text()
