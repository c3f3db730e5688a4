"""Streams during stops and reloads of a real server: each is told, and ends whole within its time."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.real.servers import every_mode, serving
from tests.real.stream_clients import APP, Crowd, run

pytestmark = pytest.mark.real

CLIENTS = 100


@pytest.mark.parametrize(
    ("mode", "reloads"), [("tasks", 0), ("processes", 1), pytest.param("lazy", 2, marks=pytest.mark.long)]
)
async def test_a_hundred_of_each(tmp_path: Path, mode: str, reloads: int) -> None:
    """WebSockets end at once, with a code that says why; event streams after half the mercy, with their last chunk."""
    with serving(tmp_path, APP, mode, "--mercy", "4", "--disable-logging") as server:
        server.wait_for("http on")
        crowd = Crowd(server.socket)
        slowest = await run(server, crowd, CLIENTS, reloads)
        ends = dict(crowd.ends)
        assert CLIENTS * (reloads + 1) == ends.pop("event stream whole")
        # A client may connect again before the last worker has stopped to accept: then it is told once more.
        assert CLIENTS <= ends["websocket 1001"]
        assert CLIENTS * reloads <= ends.get("websocket 1012", 0)
        assert ends.keys() <= {"websocket 1001", "websocket 1012"}
        assert {"http ": CLIENTS * (reloads + 1), **ends} == Counter((tmp_path / "told").read_text().splitlines())
        for step in slowest:
            assert step["websocket"] < step["event stream"]
        assert "ERROR" not in server.said
        assert "mercy" not in server.said


BLOCKING = """
from trio_uwsgi import uwsgi

def app(environ, start_response):
    if environ["PATH_INFO"] != "/stream":
        start_response("200 OK", [])
        return [b"hello"]
    return stream(start_response)

def stream(start_response):
    start_response("200 OK", [])
    while not uwsgi.stopping():
        yield b"."
        time.sleep(0.05)
    yield b"told"
"""


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("tasks", "stop"),
        ("processes", "stop"),
        ("processes", "reload"),
        pytest.param("threads", "stop", marks=pytest.mark.long),
        pytest.param("threaded processes", "reload", marks=pytest.mark.long),
        pytest.param("lazy", "reload", marks=pytest.mark.long),
    ],
)
def test_a_wsgi_stream_that_blocks_its_process(tmp_path: Path, mode: str, how: str) -> None:
    """`uwsgi.stopping()` becomes true in a process whose event loop does not run."""
    with serving(tmp_path, BLOCKING, mode, "--mercy", "20") as server:
        server.wait_for("http on")
        connection = server.connection()
        connection.request("GET", "/stream")
        response = connection.getresponse()
        assert b"." == response.read(1)
        began = time.monotonic()
        if how == "stop":
            assert 0 == server.end()
        else:
            server.process.send_signal(signal.SIGHUP)
        assert b"told" == response.read()[-4:]
        assert time.monotonic() - began < 10
        connection.close()
        if how == "reload":
            server.wait_for("reloaded in")
            assert "hello" == server.get()
            assert 0 == server.end()


DELAYED = """
from trio_uwsgi import uwsgi

def app(environ, start_response):
    healthy = environ["PATH_INFO"] != "/health" or not uwsgi.stopping()
    start_response("200 OK" if healthy else "503 Stopping", [])
    return [b"hello"]
"""


@every_mode
def test_a_delay_before_the_stop(tmp_path: Path, mode: str) -> None:
    """After SIGTERM new clients are served for the delay, the health check answers 503, and then the server ends."""
    with serving(tmp_path, DELAYED, mode, "--mercy", "5", "--drain-delay", "1.5") as server:
        server.wait_for("http on")
        assert ["hello", "hello"] == [server.get("/health"), server.get("/")]
        began = time.monotonic()
        server.process.terminate()
        server.wait_for("the stop begins in 1.5 s")
        assert ["503", "hello"] == [server.get("/health"), server.get("/")]
        assert 0 == server.process.wait(20)
        assert time.monotonic() - began > 1.4
