"""`trio-uwsgi --stop PIDFILE` and the like: what is signalled, and what is said where nothing can be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.interop.peers import TIMEOUT, find_program, free_port
from tests.real.commands import ended, running
from trio_uwsgi._program.pidfile import open_pidfile
from trio_uwsgi._program.pidfile_command import asked, main

pytestmark = pytest.mark.real

APP = "async def app(scope, receive, send): ...\n"


def send(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return ended(folder, "-m", "trio_uwsgi", *words)


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_server_is_paused_reloaded_and_stopped(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """As by the signals; and after its end there is no pidfile."""
    (tmp_path / "hello.py").write_text(APP)
    words = ("hello:app", *(processes or ("--placement", "task")), "--lifespan", "off", "--pidfile", "hello.pid")
    with running(tmp_path, *words) as server:
        for command, line in (
            (("--pause", "hello.pid"), "SIGTSTP: accepting paused"),
            (("uwsgi", "--resume", "hello.pid"), "SIGTSTP: accepting resumed"),
            (("--reload", "hello.pid"), "reloaded in" if processes else "SIGHUP: the reload was refused"),
            (("uwsgi", "--stop=hello.pid"), "SIGTERM: stopping gracefully"),
        ):
            done = send(tmp_path, *command)
            assert (0, "") == (done.returncode, done.stderr)
            server.read(line)
        assert 0 == server.process.wait(TIMEOUT)
    done = send(tmp_path, "--stop", "hello.pid")
    expected = (
        "trio-uwsgi: cannot read the pidfile hello.pid: No such file or directory; "
        "name the file of the option pidfile of a running server\n"
    )
    assert (1, expected) == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "is no pidfile: there is no pid in it"),
        ("-1", "is no pidfile: there is no pid in it"),
        ("{ended}", "is stale: no process {ended} runs; the server has ended without removing it"),
        ("{here}", "process {here} of the pidfile {file} is no server of trio-uwsgi, or its pidfile was replaced"),
    ],
)
def test_nothing_is_signalled(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a process that has ended, nor one of another program: this test is not stopped."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    file = tmp_path / "app.pid"
    pids = {"ended": ended.pid, "here": os.getpid(), "file": file}
    file.write_text(text.format_map(pids) + "\n")
    assert 1 == main("--stop", str(file))
    assert message.format_map(pids) in capsys.readouterr().err


def test_a_lock_that_a_forked_child_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A child of the server's application may have a copy of the pidfile after the server has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    file = tmp_path / "app.pid"
    with open_pidfile(str(file)):
        file.write_text(f"{ended.pid}\n")
        assert 1 == main("--reload", str(file))
    assert f"is stale: no process {ended.pid} runs" in capsys.readouterr().err


@pytest.mark.skipif(os.getuid() != 0, reason="another user needs root")
def test_the_server_of_another_user(tmp_path: Path) -> None:
    """It is not signalled, and the error says who may."""
    tmp_path.chmod(0o755)
    file = tmp_path / "app.pid"
    code = (
        "import os, sys; from trio_uwsgi.__main__ import main; os.setuid(65534); sys.exit(main(['--stop', 'app.pid']))"
    )
    with open_pidfile(str(file)):
        done = ended(tmp_path, "-c", code)
    expected = f"this user may not signal process {os.getpid()}, the server of the pidfile app.pid; use the user"
    assert 1 == done.returncode
    assert expected in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--stop app.pid", ("--stop", "app.pid")),
        ("--stop=app.pid", ("--stop", "app.pid")),
        ("uwsgi --suspend x", ("--suspend", "x")),
        ("uwsgi --reload shop", ("--reload", "shop")),
        ("--reload app.pid", ("--reload", "app.pid")),
        ("--reload /run/shop", ("--reload", "/run/shop")),
        ("--reload shop", None),
        ("--reload shop:app", None),
        ("--reload ./shop.py", None),
        ("--reload shop.py:app", None),
        ("--reload -p", None),
        ("--reload", None),
        ("--stop", None),
        ("--stop a b", None),
        ("--stop=a b", None),
        ("shop --reload", None),
        ("", None),
    ],
)
def test_which_command_lines_are_meant(line: str, expected: tuple[str, str] | None) -> None:
    """Our option --reload, which takes no value, stands before an application."""
    assert expected == asked(line.split())


def test_a_real_uwsgi_is_stopped_alike(tmp_path: Path) -> None:
    """The same words stop a real uWSGI by its pidfile; ours refuses that process, whose pidfile is not locked."""
    program = find_program("uwsgi", "pyuwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    words = [program, "--master", "--http-socket", f"127.0.0.1:{free_port()}", "--pidfile", "real.pid"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as real:
        assert real.stdout is not None
        while "spawned uWSGI worker 1" not in (line := real.stdout.readline()):
            assert line
        done = send(tmp_path, "--stop", "real.pid")
        assert f"process {real.pid} of the pidfile real.pid is no server of trio-uwsgi" in done.stderr
        assert (
            0 == subprocess.run([program, "--stop", "real.pid"], cwd=tmp_path, check=True, timeout=TIMEOUT).returncode
        )
        real.stdout.read()
        assert 0 == real.wait(TIMEOUT)
