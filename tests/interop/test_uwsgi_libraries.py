"""Libraries and a project that were written for uWSGI, each unmodified, under ours.

They run with the interpreter of the suites' environment, see `peer_suites.py`, which has no uWSGI: `uwsgidecorators` is
ours there.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peer_suites import ROOT, pins
from tests.interop.peers import APPS, TIMEOUT, Program, find_program, free_port

pytestmark = pytest.mark.real

FOLDER = Path(os.environ.get("PEER_SUITES", ROOT / ".peers"))
PYTHON = FOLDER / "venv/bin/python"
MODES = {"threads": ("--threads", "2"), "tasks inline": (), "processes": ("--processes", "1")}
in_all_modes = pytest.mark.parametrize("mode", MODES)


class Server(Program):
    """Ours with an application, run by the interpreter of the suites' environment."""

    def __init__(self, folder: Path, app: str, *options: str) -> None:
        self.port = free_port()
        self.socket = str(folder / "s")
        if not PYTHON.exists():
            pytest.skip(f"the suites are not there: python tests/interop/peer_suites.py {FOLDER.name}")
        listen = ["--http", f"127.0.0.1:{self.port}", "--socket", self.socket]
        command = [str(PYTHON), "-m", "trio_uwsgi", app, *listen, *options]
        super().__init__(command, folder, [f"127.0.0.1:{self.port}"])

    def get(self, path: str, seconds: float = TIMEOUT) -> str:
        """The body of an answer, which is 200."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)) as client:
            client.request("GET", path)
            response = client.getresponse()
            body = response.read().decode()
        assert 200 == response.status, (body, self.log.read_text())
        return body


@contextlib.contextmanager
def serving(folder: Path, app: str, *options: str) -> Iterator[Server]:
    """Such a server, which ends well, or is killed where the test fails."""
    server = Server(folder, app, *options)
    try:
        yield server
        assert 0 == server.stop(), server.log.read_text()
    finally:
        server.kill()


@contextlib.contextmanager
def libraries(folder: Path, mode: str, *options: str) -> Iterator[Server]:
    """A server of `apps/compat_libraries.py`."""
    caches = ("--cache2", "name=default,items=100", "--cache2", "name=pages,items=100")
    app = str(APPS / "compat_libraries.py:application")
    with serving(folder, app, *caches, *MODES[mode], *options) as server:
        yield server


@in_all_modes
def test_cachelibs_own_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """All pass but two that cachelib itself skips wherever there is a module `uwsgi`."""
    monkeypatch.setenv("CACHELIB", str(FOLDER / f"cachelib-{pins()['cachelib']}"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with libraries(tmp_path, mode) as server:
        code, said = ast.literal_eval(server.get("/cachelib", 120))
    assert 0 == code, said
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|SKIPPED \[\d+\])", said, re.MULTILINE)
    assert ["PASSED"] * 26 + ["SKIPPED [2]"] == outcomes, said


@in_all_modes
def test_flask_caching(tmp_path: Path, mode: str) -> None:
    """Pages and functions are cached, and the calls of its backend answer as with uWSGI."""
    with libraries(tmp_path, mode) as server:
        answers = ast.literal_eval(server.get("/flask_caching"))
    assert ["made 1", "made 1", 8, 8, 2] == answers[:5]  # made once, ran once
    assert [8, 3, ["a", "b"], [1, None, None], True] == answers[5:10]  # ran again once the memory of it was deleted
    assert [False, True, None, True, "made 4"] == answers[10:]


@in_all_modes
def test_sentrys_check(tmp_path: Path, mode: str) -> None:
    """Its SDK finds threads and fork hooks in `uwsgi.opt`, so it does not warn, and it works."""
    with libraries(tmp_path, mode) as server:
        assert ([], True, 1) == ast.literal_eval(server.get("/sentry"))


def test_uwsgi_curl_speaks_to_an_application_of_uwsgi(tmp_path: Path) -> None:
    """The command line client of uwsgi-tools gets what such an application answers."""
    uwsgi_curl = find_program("uwsgi_curl")
    if uwsgi_curl is None:
        pytest.skip("uwsgi_curl is not installed: pip install uwsgi-tools")
    with libraries(tmp_path, "threads") as server:
        done = subprocess.run(
            [uwsgi_curl, server.socket, "example.test/sentry"], capture_output=True, text=True, timeout=TIMEOUT
        )
    assert (0, "([], True, 1)") == (done.returncode, done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("mode", ["threads", pytest.param("processes", marks=pytest.mark.long)])
def test_a_project_of_django(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Its timer runs in a mule, its jobs in the spooler, its cron in a worker at the next minute."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "bookshop.settings")
    options = ("--mules", "1", "--spooler", "jobs", *MODES[mode])
    shutil.copytree(APPS / "django_project", tmp_path, dirs_exist_ok=True)
    if PYTHON.exists():
        # Checks would import the tasks, and with them `uwsgi`, which is only in the server.
        migrate = [str(PYTHON), "-m", "django", "migrate", "--run-syncdb", "--skip-checks", "-v", "0"]
        subprocess.run(migrate, cwd=tmp_path, check=True, timeout=TIMEOUT)
    with serving(tmp_path, "bookshop.wsgi", *options) as server:
        assert "queued" == server.get("/order")
        deadline = time.monotonic() + 120
        while len(found := json.loads(server.get("/notes"))) < 4:
            assert time.monotonic() < deadline, (found, server.log.read_text())
            time.sleep(0.2)
    assert ["a@example.org", "spooler"] == found["spool"]
    assert ["('b', 'c', 2)", "spooler"] == found["spool_arguments"]
    assert ["0", "worker 0 mule 1"] == found["timer"]
    assert ["1", "worker 1 mule 0"] == found["cron"]
