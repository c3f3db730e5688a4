"""A background job of a terminal: reading and writing there causes no commands to the server, and blocks nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import sys
import termios
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.real.process_runtimes import alive, children, descendants
from tests.real.servers import Server, every_mode, serving, until

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs a terminal of Linux's kind")]

# Stands for the shell: it leads the session, has the terminal, and starts the server as a background job.
SHELL = """
import fcntl, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(subprocess.Popen(sys.argv[1:], process_group=0).wait())
"""

SOURCE = """
import subprocess
def read():
    try:
        return input()
    except (EOFError, OSError) as error:
        return type(error).__name__
def write():
    print("on the terminal", flush=True)
    return "written"
def program():
    return subprocess.run(["cat"], stdout=subprocess.DEVNULL).returncode
def fork():
    pid = os.fork()
    if not pid:
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
        os._exit(int(status["SigBlk"], 16) or int(status["SigIgn"], 16) >> (signal.SIGTTIN - 1) & 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@contextlib.contextmanager
def background_job(folder: Path, mode: str, *, tostop: bool = False) -> Iterator[tuple[Server, int]]:
    """A server, and its process."""
    near, far = pty.openpty()
    if tostop:
        mode_of_terminal = termios.tcgetattr(far)
        mode_of_terminal[3] |= termios.TOSTOP
        termios.tcsetattr(far, termios.TCSANOW, mode_of_terminal)
    prefix = (sys.executable, "-c", SHELL)
    try:
        with serving(
            folder, SOURCE, mode, "--mercy", "3", prefix=prefix, stdin=far, stdout=far, start_new_session=True
        ) as server:
            server.wait_for("of process")
            yield server, children(server.process.pid)[0]
    finally:
        os.close(near)
        os.close(far)


def seconds_used(pid: int) -> float:
    """The processor time that a process, and those below it, have used."""
    total = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def changes(server: Server) -> int:
    """The number of workers that commands have added and removed."""
    return len(re.findall(r"(?:adding|removing) worker\d+", server.said))


def has_changed(server: Server, wanted: int) -> bool:
    """Whether the number of these has become this."""
    return changes(server) == wanted


def end(server: Server, pid: int) -> None:
    """It ends as ever."""
    os.kill(pid, signal.SIGTERM)
    assert 0 == server.process.wait(10), server.said


@every_mode
def test_reading_the_terminal(tmp_path: Path, mode: str) -> None:
    """A view that reads gets an error at once; no worker is added or removed, nothing spins, others are served."""
    with background_job(tmp_path, mode) as (server, pid):
        before = seconds_used(pid)
        for _ in range(3):
            assert server.get("/read", 5) in ("EOFError", "OSError")
        assert "written" == server.get("/write", 5)
        assert "1" == server.get("/program", 5)
        time.sleep(1)
        assert "hello" == server.get()
        assert seconds_used(pid) - before < 1
        assert 0 == changes(server)
        assert "0" == server.get("/fork")
        end(server, pid)


@every_mode
def test_writing_where_that_stops(tmp_path: Path, mode: str) -> None:
    """With `stty tostop` a view still prints, and no worker is removed."""
    with background_job(tmp_path, mode, tostop=True) as (server, pid):
        for _ in range(3):
            assert "written" == server.get("/write", 5)
        assert 0 == changes(server)
        end(server, pid)


@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_commands_to_a_background_job(tmp_path: Path, mode: str) -> None:
    """Signals that are sent deliberately are commands there, too."""
    with background_job(tmp_path, mode) as (server, pid):
        for number in (signal.SIGTTIN, signal.SIGTTIN, signal.SIGTTOU):
            wanted = changes(server) + 1
            os.kill(pid, number)
            until(partial(has_changed, server, wanted))
        end(server, pid)


@pytest.mark.parametrize("mode", ["tasks", pytest.param("processes", marks=pytest.mark.long)])
def test_a_terminal_that_is_closed(tmp_path: Path, mode: str) -> None:
    """It keeps serving: output is lost, and SIGHUP, which the kernel sends, is a reload."""
    near, far = pty.openpty()
    prefix = (
        sys.executable,
        "-c",
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])",
    )
    with serving(
        tmp_path, SOURCE, mode, prefix=prefix, stdin=far, stdout=far, stderr=far, start_new_session=True
    ) as server:
        os.close(far)
        os.close(near)
        for number in (signal.SIGUSR2, signal.SIGUSR1):
            time.sleep(0.3)
            server.process.send_signal(number)
        until(lambda: server.get() == "hello")
        assert alive(server.process.pid)
        assert 0 == server.end()


@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_nohup(tmp_path: Path, mode: str) -> None:
    """Where SIGHUP was ignored at the start it still reloads, and the server stops as ever."""
    with serving(tmp_path, SOURCE, mode, prefix=("nohup",)) as server:
        server.wait_for("of process")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded in" if mode == "processes" else "SIGHUP: the reload was refused")
        assert "hello" == server.get()
        assert 0 == server.end()
