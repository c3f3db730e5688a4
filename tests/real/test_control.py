"""Commands to a running server: posix signals to its process group, fifo letters, touched files, changed code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.commands import PACKAGE, SECONDS, Command, body, running
from tests.real.process_runtimes import alive, descendants
from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi.serve import _folders

pytestmark = pytest.mark.real

SOURCE = """
import time
VERSION = {version!r}
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(30)
    start_response("200 OK", [("content-length", str(len(VERSION)))])
    return [VERSION.encode()]
"""


def write(folder: Path, version: str) -> None:
    """Write the application."""
    (folder / "app.py").write_text(SOURCE.format(version=version))


def ask(server: Command) -> str:
    """The answer of the application."""
    with server.client() as client:
        return body(client)


def left_waiting(server: Command) -> socket.socket:
    """Check that a client's connection is not accepted, once the master has logged that."""
    while True:
        client = server.client()
        client.settimeout(0.2)
        try:
            client.recv(1)
        except TimeoutError:
            client.settimeout(SECONDS)
            return client
        client.close()


def test_commands(tmp_path: Path) -> None:
    """Each signal, each letter, a touched file and changed code has its effect, also if all members get the signal.

    One server gets all of them, because each start takes a second.
    """
    write(tmp_path, "1")
    (tmp_path / "touched").touch()
    words = ("app:app", "--reload", "--workers", "2", "--master-fifo", "fifo", "--touch-reload", "touched")
    with running(tmp_path, *words) as server:
        fifo = tmp_path / "fifo"
        members = descendants(server.process.pid)

        def to_all(number: int, *said: str) -> None:
            for pid in [*members, server.process.pid]:  # as a terminal does
                os.kill(pid, number)
            server.read(*said)

        to_all(signal.SIGTTIN, "adding worker3 (workers: 3)")
        to_all(signal.SIGTTOU, "removing worker3 (workers: 2)")
        to_all(signal.SIGTSTP, "accepting paused")
        with left_waiting(server) as client:
            to_all(signal.SIGTSTP, "accepting resumed")
            assert "1" == body(client)
        assert all(alive(pid) for pid in members)
        server.process.send_signal(signal.SIGUSR1)
        server.read("SIGUSR1: MemberStatistics(name='worker2', state='ready'", "SIGUSR1: SignalStatistics(")
        server.process.send_signal(signal.SIGUSR2)
        server.read(
            *(f"(process {pid}): Trio tasks" for pid in [server.process.pid, *members[1:]]), "Control.obey_signals"
        )
        (tmp_path / "touched").touch()
        server.read("reloaded in")
        server.said = ""
        fifo.write_text("c+-pps x")
        server.read(
            "reloaded in", "removing worker3", "accepting resumed", "fifo s: SignalStatistics(", "fifo 'x': unknown"
        )
        server.said = ""
        write(tmp_path, "22")
        server.read("reloaded in")
        while ask(server) != "22":  # those that give way may still be asked for a moment
            pass
        fifo.write_text("q")
        server.read("fifo q: stopping gracefully")
        assert 0 == server.process.wait(SECONDS)
    assert not fifo.exists()


@pytest.mark.parametrize("order", ["signal", "letter"])
def test_immediate_stops(tmp_path: Path, order: str) -> None:
    """SIGQUIT and Q do not wait for requests."""
    write(tmp_path, "1")
    words = ("app:app", "--processes", "1", "--threads", "1", "--master-fifo", "fifo")
    with running(tmp_path, *words, code=128 + signal.SIGQUIT) as server:
        members = descendants(server.process.pid)
        with socket.create_connection(server.address, timeout=SECONDS) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            if order == "signal":
                server.process.send_signal(signal.SIGQUIT)
            else:
                (tmp_path / "fifo").write_text("Q")
            assert 128 + signal.SIGQUIT == server.process.wait(SECONDS)
        assert not any(alive(pid) for pid in members)


CUT = """
import trio
from trio_uwsgi import uwsgi
@uwsgi.spool_handler
async def job(job):
    print("the job begins", flush=True)
    await trio.sleep_forever()
async def app(scope, receive, send):
    await job.spool(n="1")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    await trio.sleep_forever()
"""


@pytest.mark.parametrize("to", ["the master", "all"])
def test_immediate_stops_of_processes(tmp_path: Path, to: str) -> None:
    """What they cut off is in the access log, and a job's attempt does not count, also if all processes get SIGTERM
    twice.
    """
    (tmp_path / "app.py").write_text(CUT)
    words = ("app:app", "--processes", "1", "--lifespan", "off", "--spooler", "jobs")
    number = signal.SIGQUIT if to == "the master" else signal.SIGTERM
    with running(tmp_path, *words, code=128 + number, access_log=True) as server:
        members = descendants(server.process.pid)
        with socket.create_connection(server.address, timeout=SECONDS) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            server.read("the job begins")
            if to == "the master":
                server.process.send_signal(number)
            else:
                for said in ("stopping gracefully", "stopping immediately"):
                    for pid in [*members, server.process.pid]:
                        os.kill(pid, number)
                    server.read(said)
            server.read('"GET /slow HTTP/1.1" 200 5b', "the stop has cut off job job in ")
            assert 128 + number == server.process.wait(SECONDS)
        assert not any(alive(pid) for pid in members)
    shown = subprocess.run(
        [sys.executable, "-m", "trio_uwsgi", "spool", "ls", "--json", "jobs"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    assert [("waiting", 0)] == [(job["state"], job["tries"]) for job in json.loads(shown.stdout)["jobs"]]


def test_commands_that_come_too_early(tmp_path: Path) -> None:
    """During the start a reload is refused, and a stop ends the process at once and leaves nothing behind."""
    (tmp_path / "app.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    words = ["app:app", "--processes", "1", "--http", "127.0.0.1:0", "--master-fifo", "fifo"]
    with subprocess.Popen(
        [sys.executable, "-m", "trio_uwsgi", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        server = Command(process)
        server.read("importing")
        for order in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTSTP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(order)
            server.read(order.name)
        server.read(
            "SIGHUP: cannot reload while the server is starting",
            "SIGTTIN: cannot add a worker while the server is starting",
            "Control.obey_signals",
        )
        members = descendants(process.pid)
        (tmp_path / "fifo").write_text("q")
        server.read("fifo q: stopping before anything was served")
        assert 0 == process.wait(SECONDS)
    assert not any(alive(pid) for pid in members)
    assert not (tmp_path / "fifo").exists()


def test_where_code_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the current folder and the application's, also if the name of one is a prefix of the other's."""
    here, beside = tmp_path / "app", tmp_path / "app2"
    here.mkdir()
    monkeypatch.chdir(here)
    for target, folders in (
        ("shop:app", [here]),
        (f"{here}/x/shop.py:app", [here]),
        (f"{beside}/shop.py", [here, beside]),
    ):
        assert [str(folder) for folder in folders] == _folders(AppReference("name", target))


@pytest.mark.long
def test_reload_with_an_unreadable_folder(tmp_path: Path) -> None:
    """`--reload` serves, with one warning, and notices changes in other folders."""
    write(tmp_path, "1")
    (tmp_path / "database").mkdir(mode=0)
    # Root may read everything, unless these capabilities are gone.
    launcher = (
        "import ctypes, os, sys; libc = ctypes.CDLL(None); [libc.prctl(24, number, 0, 0, 0) for number in (1, 2)]; "
        "os.execv(sys.executable, [sys.executable, '-m', 'trio_uwsgi', *sys.argv[1:]])"
    )
    line = [sys.executable, "-c", launcher, "app:app", "--reload", "--http", "127.0.0.1:0", "--disable-logging"]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Command(process)
        try:
            server.read("in processes of process", "checking it every 1 s instead")
            write(tmp_path, "another one")
            server.read("reloaded in")
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
            (tmp_path / "database").chmod(0o700)
    assert 0 == process.returncode
    assert 1 == (server.said + rest).count("cannot watch the code for changes (Permission denied")
