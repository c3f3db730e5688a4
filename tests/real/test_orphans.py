"""Processes whose parents have ended are reaped where they are adopted; other children are not reaped there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.process_runtimes import children
from tests.real.servers import (
    MODES,
    UNSHARE,
    Server,
    answers,
    as_process_one,
    environment,
    every_mode,
    process_one,
    serving,
    until,
    write,
    zombies,
)

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

SOURCE = """
import subprocess
def orphan():
    os.system("(sleep 0.2 &)")
    return "left behind"
def lasting():
    return subprocess.check_output("sleep 60 >&2 & echo $!", shell=True, text=True)
def own():
    child = subprocess.Popen(["sh", "-c", "exit 7"])
    pid = os.fork()
    if not pid:
        os._exit(8)
    time.sleep(0.7)
    return child.wait(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@every_mode
def test_orphans_of_requests(tmp_path: Path, mode: str) -> None:
    """Processes that ten requests left behind are reaped when they end."""
    with serving(tmp_path, SOURCE, mode) as server:
        for _ in range(10):
            assert "left behind" == server.get("/orphan")
        assert "(7, 8)" == server.get("/own")
        until(lambda: not zombies(server.process.pid))
        assert 0 == server.end()


@pytest.mark.parametrize("mode", ["processes", pytest.param("lazy", marks=pytest.mark.long)])
def test_orphans_that_outlive_their_zygote(tmp_path: Path, mode: str) -> None:
    """After a reload the master has adopted them, and reaps them when they end."""
    with serving(tmp_path, SOURCE, mode) as server:
        server.wait_for("in processes of process")
        left = [int(server.get("/lasting")) for _ in range(3)]
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded in")
        until(lambda: set(left) <= set(children(server.process.pid)))
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not set(left) & set(children(server.process.pid)))
        assert "hello" == server.get()
        assert 0 == server.end()


@as_process_one
@every_mode
def test_as_process_one(tmp_path: Path, mode: str) -> None:
    """Orphans are reaped, but no children of the application; the stop and the exit code are as usual."""
    with serving(tmp_path, SOURCE, mode, prefix=UNSHARE) as server:
        one = process_one(server.process.pid)
        for _ in range(10):
            assert "left behind" == server.get("/orphan")
        assert "(7, 8)" == server.get("/own")
        until(lambda: not zombies(one))
        server.wait_for("es of process" if "--processes" in MODES[mode] else "in tasks of process")
        os.kill(one, signal.SIGUSR2)
        server.wait_for("SIGUSR2: the stacks of all processes follow")
        assert "hello" == server.get()
        os.kill(one, signal.SIGTERM)
        assert 0 == server.process.wait(10)
        assert 1 == server.said.count("SIGTERM: stopping")


@as_process_one
@pytest.mark.parametrize(("number", "code"), [(signal.SIGQUIT, 131), (signal.SIGKILL, 137)])
def test_ends_of_process_one(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The exit code of the container is that of the server, with 128 plus the number for a signal."""
    with serving(tmp_path, SOURCE, "tasks", prefix=UNSHARE) as server:
        server.wait_for("in tasks of process")
        (child,) = children(process_one(server.process.pid))
        os.kill(child, number)
        assert code == server.process.wait(10)


@as_process_one
def test_sockets_passed_to_process_one(tmp_path: Path) -> None:
    """Sockets that a service manager passes to process 1 are served, and are closed when the server has closed them."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        line = [sys.executable, "-m", "trio_uwsgi", "app:app"]
        shell = ["bash", "-c", f'exec 3<&{sock.fileno()}; LISTEN_FDS=1 LISTEN_PID=1 exec "$@"', "sh", *line]
        write(tmp_path, SOURCE)
        process = subprocess.Popen(
            [*UNSHARE, *shell], cwd=tmp_path, env=environment(), pass_fds=[sock.fileno()], stderr=subprocess.PIPE
        )
    server = Server(process, tmp_path)
    try:
        until(lambda: answers(server))
        os.kill(process_one(process.pid), signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert b"http on unix:" in said
        assert 0 == process.returncode
    finally:
        process.kill()
        process.wait(30)


@as_process_one
def test_a_script_as_process_one(tmp_path: Path) -> None:
    """A script as process 1 gets a warning that processes which the application leaves behind are not reaped."""
    script = """
    import trio, trio_uwsgi
    if __name__ == "__main__":
        trio.run(trio_uwsgi.serve, app, trio_uwsgi.Config(http="unix:s"))
    """
    write(tmp_path, script)
    line = [*UNSHARE, sys.executable, "app.py"]
    process = subprocess.Popen(line, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    server = Server(process, tmp_path)
    try:
        until(lambda: answers(server))
        os.kill(process_one(process.pid), signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert b"run it under an init (docker run --init)" in said
        assert 0 == process.returncode
    finally:
        process.kill()
        process.wait(30)
