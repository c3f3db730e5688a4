"""A script that worker 1 runs, and after which the server stops; likewise beside uWSGI."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.real.servers import MODES, command, environment, serving, write

pytestmark = pytest.mark.real

SCRIPT = """
import sys, threading, uwsgi
from app import double
uwsgi.lock()
uwsgi.cache_update("name", b"value")
uwsgi.unlock()
print("script", uwsgi.worker_id(), uwsgi.cache_get("name"), uwsgi.rpc(b"", b"double", b"ab"), double(2), flush=True)
print(*sys.argv[1:])
if "fail" in sys.argv:
    raise ValueError("the script's own error")
"""
SOURCE = """
import uwsgi
def double(value):
    return value * 2
uwsgi.register_rpc("double", double)
"""
OPTIONS = ("--python", "work.py", "--cache2", "name=c,items=9")
SAID = "script 1 b'value' b'abab' 4"


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """The exit code of a server, and what it printed on standard output and standard error."""
    write(folder, SOURCE)
    (folder / "work.py").write_text(SCRIPT)
    ran = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=() if mode in ("tasks", "processes") else pytest.mark.long) for mode in MODES]
)
def test_the_server_stops_after_it(mode: str, tmp_path: Path) -> None:
    """It calls the API, once, in one worker."""
    code, out, log = run(
        tmp_path, *command(mode, "--python", "work.py", "--pyargv", "a b", "--cache2", "name=c,items=9")
    )
    assert (0, f"{SAID}\na b\n") == (code, out), log
    assert "worker1: the script" in log
    assert "ERROR" not in log


def test_a_script_that_fails(tmp_path: Path) -> None:
    """Its error is in the log, and the server stops all the same."""
    code, _, log = run(
        tmp_path, *command("tasks", "--python", "work.py", "--pyargv", "fail", "--cache2", "name=c,items=9")
    )
    assert 0 == code
    assert "ValueError: the script's own error" in log


@pytest.mark.processes
@pytest.mark.parametrize("wait", ["sync.wait_stopping()", "while not sync.stopping(): pass"])
def test_a_reload_runs_it_again(tmp_path: Path, wait: str) -> None:
    """A script that ends because its worker is replaced does not stop the server, however soon it notices."""
    (tmp_path / "work.py").write_text(
        f"""
import sys, uwsgi
from trio_uwsgi import sync
uwsgi.cache_inc("runs")
print("begins", uwsgi.cache_num("runs"), file=sys.stderr, flush=True)
{wait}
print("ends", file=sys.stderr, flush=True)
"""
    )
    with serving(tmp_path, "", "processes", "--python", "work.py", "--cache2", "name=c,items=9") as server:
        server.wait_for("begins 1")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded in", "ends", "begins 2")
        assert "hello" == server.get()
        assert 0 == server.end()
        assert "the server stops" not in server.said


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    """The start says so."""
    code, _, log = run(tmp_path, *command("tasks", "--python", "nowhere.py"))
    assert 4 == code
    assert f"there is no script {tmp_path}/nowhere.py; write --python FILE, or --python module:function" in log


def test_it_prints_the_same_under_uwsgi(uwsgi_program: str, tmp_path: Path) -> None:
    """A script finds the same API there. uWSGI's exit code is 0 too."""
    theirs = run(
        tmp_path,
        uwsgi_program,
        "--master",
        "--socket",
        f"{tmp_path}/s",
        "--module",
        "app:app",
        *OPTIONS,
        "--pyargv",
        "a b",
    )
    assert 0 == theirs[0]
    assert f"{SAID}\na b\n" in theirs[2]  # its standard output is its log
