"""Members that import the application themselves, and send its declarations to the master."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.commands import body, running
from trio_uwsgi._process.member_process import CANNOT_START

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

APP = """
import os, threading, trio
from trio_uwsgi import uwsgi

# Neither would do in a process that others are forked from.
threading.Thread(target=threading.Event().wait, daemon=True).start()
IMPORTED_IN = os.getpid()
trio.run(trio.sleep, 0)

@uwsgi.timer(0.1, target="worker2")
def tick(signum):
    print(f"tick in {uwsgi.worker_id()}", flush=True)

@uwsgi.mule(1)
async def program():
    print("the program runs", flush=True)
    await trio.sleep_forever()

@uwsgi.signal_handler(7, target="mule1")
def seven(signum):
    print(f"seven in mule {uwsgi.mule_id()}", flush=True)

def app(environ, start_response):
    uwsgi.signal(7)
    body = b"own" if IMPORTED_IN == os.getpid() else b"another's"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_lazy_members_import_for_themselves(tmp_path: Path) -> None:
    """Each has its own import, with its threads; signals, timers and programs work as declared, timers once."""
    (tmp_path / "lazy.py").write_text(APP)
    with running(tmp_path, "lazy:app", "-p", "2", "--mules", "1", "--lazy-apps") as server, server.client() as sock:
        assert "own" == body(sock)
        server.read("tick in 2", "the program runs", "seven in mule 1")
    assert "tick in 1" not in server.said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise LookupError('no database')", "importing lazy failed: LookupError: no database"),
        ("from trio_uwsgi import uwsgi\nuwsgi.mule(3)(print)\ndef app(e, s): ...", "a mule that does not exist"),
        pytest.param(
            "from trio_uwsgi import uwsgi\nuwsgi.spooler(len)\ndef app(e, s): ...",
            "add --spooler jobs",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "from trio_uwsgi import uwsgi\nuwsgi.mule_message_handler(len)\ndef app(e, s): ...",
            "add --mules 1",
            marks=pytest.mark.long,
        ),
    ],
    ids=["import", "declaration", "jobs", "messages"],
)
def test_a_lazy_application_that_cannot_start(tmp_path: Path, text: str, message: str) -> None:
    """What fails in the members' import, or does not fit them, ends the runtime with the code and words for that."""
    (tmp_path / "lazy.py").write_text(text)
    line = [sys.executable, "-m", "trio_uwsgi", "lazy:app", "-p", "1", "--lazy-apps", "--http", "127.0.0.1:0"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert CANNOT_START == done.returncode
    assert message in done.stderr.splitlines()[-1]
