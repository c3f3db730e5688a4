"""How members' processes start: their hooks and their titles in `ps`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.commands import body, running
from tests.real.process_runtimes import children
from trio_uwsgi._process.member_process import CANNOT_START

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

APP = """
import os
from trio_uwsgi import uwsgi

opened_in = []

@uwsgi.post_fork
async def first():
    opened_in.append(os.getpid())

@uwsgi.post_fork
def second():
    opened_in.append(os.getpid())
    if uwsgi.mule_id():
        print("the mule has begun", flush=True)

def app(environ, start_response):
    body = b"here, twice" if opened_in == [os.getpid()] * 2 else repr(opened_in).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def titles(pid: int) -> set[str]:
    """The titles of this process and all below it."""
    name = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    return {name}.union(*map(titles, children(pid)))


@pytest.mark.parametrize("lazy", [(), pytest.param(("--lazy-apps",), marks=pytest.mark.long)], ids=["forked", "fresh"])
def test_members_begin_with_their_hooks_and_names(tmp_path: Path, lazy: tuple[str, ...]) -> None:
    """Each process has called the hooks itself, in order, and has the title of its role."""
    (tmp_path / "begin.py").write_text(APP)
    with running(tmp_path, "begin:app", "-p", "2", "--mules", "1", *lazy) as server:
        for _ in range(4):
            with server.client() as sock:
                assert "here, twice" == body(sock)
        server.read("the mule has begun")
        roles = ("master", "zygote", "worker 1", "worker 2", "mule 1")
        assert {f"trio-uwsgi {role}" for role in roles} == titles(server.process.pid)


def test_a_hook_that_fails_is_a_failed_start(tmp_path: Path) -> None:
    """After a few tries the runtime ends, with the hook's traceback and the exit code for that."""
    (tmp_path / "begin.py").write_text(APP + "\n@uwsgi.post_fork\ndef third():\n    raise LookupError('no database')\n")
    line = [sys.executable, "-m", "trio_uwsgi", "begin:app", "-p", "1", "--http", "127.0.0.1:0"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert CANNOT_START == done.returncode
    assert "the post_fork hook third failed in worker1: LookupError: no database" in done.stderr.splitlines()[-1]
    assert ", in third" in done.stderr
