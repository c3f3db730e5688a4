"""Hooks of a server: at which point each is done, here and in a real uWSGI, and what a failure does."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.interop.peers import TIMEOUT, find_program, free_port
from tests.real.commands import PACKAGE, ended, running
from tests.real.test_daemons import runs
from trio_uwsgi._program.hooks import Hooks
from trio_uwsgi.config.hooks import POINTS, Hook
from trio_uwsgi.errors import BootError

pytestmark = pytest.mark.real

APP = "open('notes', 'a').write('imported\\n')\nasync def app(scope, receive, send): ...\n"


async def test_actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Files, folders, the process itself, and shell commands; only those of the point."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP", "")
    actions = ["mkdir:sub", "write:sub/a one", "append:sub/a , two", "create:sub/b", "chmod:sub/b 600", "cd:sub"]
    actions += ["putenv:SHOP=books", "exec:echo $SHOP in $PWD; exit 0", "safeexec:exit 3", "print:done", "unlink:b"]
    with caplog.at_level("INFO"):
        await Hooks([Hook.parse(f"asap {action}") for action in actions]).run("as-root")
        assert not (tmp_path / "sub").exists()
        hooks = Hooks([Hook.parse(f"asap {action}") for action in actions[:6]])
        await hooks.run("asap")
        assert 0o600 == stat.S_IMODE((tmp_path / "sub" / "b").stat().st_mode)
        await Hooks([Hook.parse(f"asap {action}") for action in actions[6:]]).run("asap")
    assert "one, two" == (tmp_path / "sub" / "a").read_text()
    assert ["a"] == [path.name for path in (tmp_path / "sub").iterdir()]
    assert f"books in {tmp_path}/sub" in caplog.text
    assert "hook asap safeexec:exit 3 ended with exit code 3" in caplog.text
    assert "hook asap: done" in caplog.text


async def test_failures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first one is an error; at the end of the server it is logged, and a hook has the mercy."""
    for action, why in (
        (f"unlink:{tmp_path}/x", "No such file or directory"),
        ("exec:exit 3", "it ended with exit code 3"),
    ):
        hooks = Hooks([Hook.parse(f"as-user-atexit {action}"), Hook.parse(f"as-user-atexit create:{tmp_path}/made")])
        with pytest.raises(BootError, match=f"the hook as-user-atexit {action} failed: {why}"):
            await hooks.run("as-user-atexit")
        await hooks.run_last(30)
        assert f"the hook as-user-atexit {action} failed: {why}" in caplog.text
    assert not (tmp_path / "made").exists()
    await Hooks([Hook.parse("as-user-atexit exec:sleep 600")]).run_last(0.1)
    assert "the hooks of as-user-atexit did not end within the mercy of 0.1 s" in caplog.text


@pytest.mark.parametrize("processes", [(), ("--processes", "1"), ("--processes", "1", "--lazy-apps")])
def test_the_order(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """Each point comes in its turn, once, also with a reload; the application sees what was done before it."""
    (tmp_path / "hello.py").write_text(APP)
    hooks = [word for point in reversed(POINTS) for word in ("--hook", f"{point} exec:echo {point} >> notes")]
    with running(tmp_path, "hello:app", *processes, "--lifespan", "off", *hooks) as server:
        while "master-start\n" not in (tmp_path / "notes").read_text():
            time.sleep(0.01)
        if processes:
            server.process.send_signal(signal.SIGHUP)
            server.read("reloaded in")
    expected = ["asap", "as-root", "as-user", "pre-app", "imported", "post-app", "master-start", "as-user-atexit"]
    found = (tmp_path / "notes").read_text().split()
    assert expected == list(dict.fromkeys(found))
    assert [] == [point for point in POINTS if found.count(point) != 1]


@pytest.mark.parametrize("point", POINTS[:-1])
def test_a_hook_that_fails(tmp_path: Path, point: str) -> None:
    """The server does not start, or ends: exit code 4, and one line."""
    (tmp_path / "hello.py").write_text(APP)
    words = ["hello:app", "--processes", "1", "--lifespan", "off", "--http", "127.0.0.1:0"]
    done = ended(tmp_path, "-m", "trio_uwsgi", *words, "--hook", f"{point} exec:exit 3")
    expected = f"trio-uwsgi: the hook {point} exec:exit 3 failed: it ended with exit code 3"
    assert (4, expected) == (done.returncode, done.stderr.splitlines()[-1])


@pytest.mark.parametrize("who", ["ours", "uwsgi"])
def test_both_do_the_same(tmp_path: Path, who: str) -> None:
    """A configuration with hooks before and after the import, here and in a real uWSGI."""
    program = find_program("uwsgi", "pyuwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    (tmp_path / "hello.py").write_text(
        "open('notes', 'a').write('imported ')\ndef application(environ, start_response): ...\n"
    )
    (tmp_path / "uwsgi.ini").write_text(
        f"[uwsgi]\nmodule = hello\nmaster = true\nhttp-socket = 127.0.0.1:{free_port()}\n"
        "exec-asap = printf 'exec-asap ' >> notes\nhook-asap = write:notes asap \n"
        "hook-pre-app = append:notes pre-app \n"
        "exec-post-app = printf 'post-app ' >> notes\nhook-master-start = exec:printf 'started ' >> notes\n"
    )
    words = [program] if who == "uwsgi" else [sys.executable, "-m", "trio_uwsgi"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([*words, "--ini", "uwsgi.ini"], cwd=tmp_path, env=environment) as server:
        deadline = time.monotonic() + TIMEOUT
        while "started" not in ((tmp_path / "notes").read_text() if (tmp_path / "notes").exists() else ""):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)  # until the worker of a uWSGI takes signals
        server.send_signal(signal.SIGINT)
        assert 0 == server.wait(TIMEOUT)
    found = (tmp_path / "notes").read_text()
    assert "asappre-appimported post-app started " == found.replace("exec-asap ", "")


@pytest.mark.parametrize("point", ["asap", "pre-app"])
def test_a_start_that_is_interrupted(tmp_path: Path, point: str) -> None:
    """SIGTERM ends the command of a hook, and the start with it: exit code 0, and nothing is left."""
    (tmp_path / "hello.py").write_text(APP)
    words = [
        "hello:app",
        "--processes",
        "1",
        "--http",
        "127.0.0.1:0",
        "--hook",
        f"{point} exec:echo $$; exec sleep 600",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    with subprocess.Popen(
        [sys.executable, "-m", "trio_uwsgi", *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        while not (found := re.search(r": (\d+)$", server.stderr.readline())):
            assert server.poll() is None
        server.terminate()
        assert 0 == server.wait(TIMEOUT), server.stderr.read()
    assert not runs(found[1])
    assert not (tmp_path / "notes").exists()
