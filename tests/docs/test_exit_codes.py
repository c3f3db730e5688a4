"""Each exit code on docs/reference/exit_codes.md is that of the real command.

Codes that need a second signal, a blocked thread or another process 1 are tried in tests/real: test_command_line.py,
test_control.py, test_ends.py, test_last_resort.py and test_orphans.py.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from trio_uwsgi import __main__ as command
from trio_uwsgi._process.member_process import CANNOT_START
from trio_uwsgi._spool import command as spool

PAGE = (ROOT / "docs" / "reference" / "exit_codes.md").read_text()
SECONDS = 30

APP = """
import os, sys
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
def wsgi(environ, respond):
    respond("200 OK", [])
    return [b""]
"""


def run(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code of the command, and the last line that it prints."""
    (folder / "shop.py").write_text(APP)
    done = subprocess.run(
        [sys.executable, "-m", "trio_uwsgi", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.rstrip().rpartition("\n")[2]


def test_the_page_has_every_code() -> None:
    """Those that the sources name, and no other one."""
    stops = {command.SIGNAL_BASE + number for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)}
    codes = {0, command.FAILED, command.BAD_OPTIONS, command.CANNOT_LISTEN, CANNOT_START, *stops}
    server, other = PAGE.split("## trio-uwsgi spool")
    assert codes == {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", server, re.M) for code in row.split(", ")}
    found = {int(code) for code in re.findall(r"^\| (\d+) \|", other.partition("\n## ")[0], re.M)}
    assert {0, spool.NOT_DONE, spool.BAD_OPTIONS} == found


@pytest.mark.real
@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["shop:wsgi", "--harakri", "3"], 2, "there is no option --harakri; did you mean --harakiri?"),
        (["shop:wsgi", "--spooler", "shop.py"], 2, "spooler .*/shop.py: "),
        (["shop:wsgi", "--chdir", "missing"], 2, "cannot change to the directory .*/missing"),
        (["shop:wsgi", "--http", "@s", "--pidfile", "missing/file"], 2, ".*missing/file"),
        (["shop:wsgi", "--cache2", "name=x,items=1,store=missing/x"], 4, "cache 'x': missing/x cannot be opened"),
        (["shop:wsgi", "--master-fifo", "shop.py", "--http", "@s"], 3, "cannot listen on .*/shop.py: the file exists"),
        (["missing:app"], 4, "there is no module missing"),
        (["shop:other"], 4, "shop has no 'other'"),
        (["shop:app", "--http", "@s"], 4, "the application's startup failed: no database"),
        (["shop:app", "--processes", "1", "--http", "@s"], 4, "the application's startup failed: no database"),
        (["spool", "ls", "missing"], 2, "spool: missing is not a directory"),
        (["spool", "show", ".", "uwsgi_spoolfile_x"], 1, "spool: .*"),
    ],
)
def test_a_refusal_has_its_code(tmp_path: Path, words: list[str], code: int, line: str) -> None:
    """The last line says what is wrong, in the words of the command line."""
    found, last = run(tmp_path, *[word.replace("@s", f"@{tmp_path.name}") for word in words])
    assert code == found, last
    assert re.match(f"trio-uwsgi:? {line}", last), last


@pytest.mark.real
def test_an_address_in_use_has_its_code(tmp_path: Path) -> None:
    """The line names the address."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, last = run(tmp_path, "shop:wsgi", "--http", address)
    assert (3, f"trio-uwsgi: cannot listen on {address}: the address is in use") == (code, last.partition(";")[0])


def test_a_curl_alarm_without_httpx_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says what to install, before anything is served."""
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "httpx", None)
    address = ["--http", f"@{tmp_path.name}"]
    assert 2 == command.main(["shop.py:wsgi", "--alarm", "page curl:http://127.0.0.1:9/", *address])
    line = "trio-uwsgi: a curl: alarm needs httpx, which is not installed; pip install 'trio-uwsgi[alarms]'\n"
    assert line == capsys.readouterr().err
