"""The scripts in `apps/decorated`, one for each decorator, under a real uWSGI and under ours: the same lines are noted.

Both use the `uwsgidecorators.py` of uWSGI's wheel, unmodified; ours also with the one of this package.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.peers import APPS, ROOT, Program, free_port

pytestmark = pytest.mark.real

SCRIPTS = sorted(path.stem for path in (APPS / "decorated").glob("*.py"))
OURS = ROOT / "trio_uwsgi/compat/decorators.py"
OPTIONS = ["--mules", "3", "--farm", "f:3", "--spooler", "jobs", "--spooler-frequency", "1", "--locks", "1"]
OPTIONS += ["--cache2", "name=c,items=100"]
MODES = {"tasks": ("--threads", "2"), "processes": ("--processes", "1", "--threads", "2")}
SLOW = {"cron"}  # its minute has to come


def lines(command: Sequence[str], script: str, folder: Path, decorators: Path) -> list[str]:
    """The lines that a script notes under a server, each once, once they are as many as it says."""
    path = APPS / "decorated" / f"{script}.py"
    expected = re.search(r"^LINES = (\d+)", path.read_text(), re.MULTILINE)
    assert expected is not None
    (folder / "jobs").mkdir(parents=True)
    if decorators == OURS:
        shutil.copy(OURS, folder / "uwsgidecorators.py")  # where a module is searched for first
    noted = folder / "noted"
    port = free_port()
    listen = f"127.0.0.1:{port}"
    server = Program([*(word.format(app=path, listen=listen) for word in command), *OPTIONS], folder, [listen])
    try:
        deadline = time.monotonic() + 100
        while True:
            assert hashlib.sha256(decorators.read_bytes()).hexdigest() == ask(port)
            for _ in range(10):
                found = set(noted.read_text().splitlines() if noted.exists() else ())
                if len(found) >= int(expected[1]):
                    return sorted(found)
                time.sleep(0.1)
            assert time.monotonic() < deadline, (found, server.log.read_text())
    finally:
        server.kill()


def ask(port: int) -> str:
    """Have the script do what it does for a request; some that come too early change nothing, so it is asked again."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("GET", "/")
        response = client.getresponse()
        assert 200 == response.status
        return response.read().decode()


@pytest.fixture
def wheels_file() -> Path:
    """The file of uWSGI's wheel; a test that needs it is skipped without it."""
    found = importlib.util.find_spec("uwsgidecorators")
    if found is None or found.origin is None or Path(found.origin) == OURS:
        pytest.skip("uWSGI's uwsgidecorators.py is not installed: pip install pyuwsgi")
    return Path(found.origin)


@pytest.mark.parametrize("file", ["wheel", pytest.param("ours", marks=pytest.mark.long)])
@pytest.mark.parametrize("script", [pytest.param(name, marks=[pytest.mark.long] * (name in SLOW)) for name in SCRIPTS])
def test_decorator(uwsgi_program: str, wheels_file: Path, tmp_path: Path, script: str, file: str) -> None:
    """The lines under ours, in tasks and in processes, are those under a real uWSGI."""
    command = [uwsgi_program, "--master", "--need-app", "--wsgi-file", "{app}", "--processes", "1", "--enable-threads"]
    command += ["--disable-logging", "--http-socket", "{listen}"]
    expected = lines(command, script, tmp_path / "uwsgi", wheels_file)
    for mode, options in MODES.items():
        command = [sys.executable, "-m", "trio_uwsgi", "{app}", "--http", "{listen}", *options]
        assert expected == lines(command, script, tmp_path / mode, OURS if file == "ours" else wheels_file), mode


def test_every_decorator_has_a_script(wheels_file: Path) -> None:
    """All that the wheel's file has."""
    names = re.findall(r"^(?:class|def) ([a-z]\w*)", wheels_file.read_text(), re.MULTILINE)
    classes = set(names) - {"get_free_signal", "manage_spool_request", "postfork_chain_hook", "spool_decorate"}
    assert set(SCRIPTS) == {name for name in classes if not re.search("_loop|brain|dispatcher", name)}
