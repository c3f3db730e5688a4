"""`uwsgitop`, the monitor of uWSGI, in a pseudo terminal: it shows the workers of ours as they are."""

from __future__ import annotations

import contextlib
import http.client
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers import find_program
from tests.real.servers import UnixConnection

pytestmark = pytest.mark.real

SECONDS = 60.0
APP = """
import time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(30)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
MODES = {
    "processes": ("--processes", "2"),
    "processes with threads": ("--processes", "2", "--threads", "2"),
    "tasks": ("--workers", "2", "--threads", "2"),
}


class Terminal:
    """A program in a pseudo terminal, and all that it has written."""

    def __init__(self, command: list[str]) -> None:
        near, far = pty.openpty()
        self._near = near
        environment = {**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "200"}
        self._process = subprocess.Popen(command, stdin=far, stdout=far, stderr=far, env=environment, close_fds=True)
        os.close(far)
        self.shown = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until what was written has this; without the sequences that move the cursor."""
        end = time.monotonic() + SECONDS
        while True:
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]", " ", self.shown)
            if found := re.search(pattern, text):
                return found
            assert time.monotonic() < end, text
            if select.select([self._near], [], [], 1)[0]:
                self.shown += os.read(self._near, 65536).decode("utf-8", "replace")

    def end(self) -> int:
        """Type the key that ends it, and return its exit code."""
        os.write(self._near, b"q")
        end = time.monotonic() + SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            if select.select([self._near], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # it has ended
                    os.read(self._near, 65536)
        return self._process.wait(timeout=1)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(timeout=SECONDS)
        os.close(self._near)


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Ours, with two workers and a stats server, in a folder that has its sockets."""
    (tmp_path / "top_app.py").write_text(APP)
    command = [sys.executable, "-m", "trio_uwsgi", "top_app", "--http", "./app", "--stats", "./stats", "--mercy", "0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *MODES[request.param]],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"},
        )
    try:
        end = time.monotonic() + SECONDS
        while b"workers, " not in (text := (tmp_path / "log").read_bytes()):
            assert process.poll() is None, text
            assert time.monotonic() < end, text
            time.sleep(0.05)
        yield tmp_path
    finally:
        process.terminate()
        try:
            process.wait(timeout=SECONDS)
        finally:
            process.kill()


def ask(folder: Path, path: str) -> bytes:
    """What the application answers."""
    connection = UnixConnection(str(folder / "app"), SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def test_it_shows_live_workers(server: Path) -> None:
    """Both workers with their processes; then the requests that they have had, and which one is busy."""
    program = find_program("uwsgitop", "uwsgitop")
    if program is None:
        pytest.skip("uwsgitop is not installed: pip install uwsgitop")
    for _ in range(7):
        assert b"hello" == ask(server, "/")
    terminal = Terminal([program, str(server / "stats")])
    try:
        shown = terminal.wait_for(r"uwsgi-2\.0\.31 - .* req: 7 - RPS: ")
        terminal.wait_for(r"WID.*STATUS.*RSS.*TX")
        terminal.wait_for(r"idle.*idle")
        assert "busy" not in shown.string

        def wait() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):  # the server ends first
                ask(server, "/slow")

        threading.Thread(target=wait, daemon=True).start()
        terminal.wait_for("busy")
        assert 0 == terminal.end()
    finally:
        terminal.close()
