"""The guide on systemd: `systemd-analyze` accepts its units without a warning and rates them as the page says, and
`systemd-socket-activate` starts the server with a socket that has the page's name.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.interop.peers import TIMEOUT, Program, exchange, find_program

ANALYZE = find_program("systemd-analyze")
ACTIVATE = find_program("systemd-socket-activate")
PAGE = (ROOT / "docs/guides/systemd.md").read_text()
UNITS = [block for block in blocks_of(PAGE) if block.language == "ini" and block.file_name]
FRAGMENTS = [block.text for block in blocks_of(PAGE) if block.language == "ini" and not block.file_name]

pytestmark = [pytest.mark.real, pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")]


def version() -> int:
    """That of the installed systemd."""
    return int(analyze("--version").split()[1])


def analyze(*arguments: str) -> str:
    """What `systemd-analyze` prints."""
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False
    )
    return done.stdout


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the page's units, in which the server's path is one that exists."""
    for block in UNITS:
        text = re.sub(r"/srv/shop/.venv/bin/trio-uwsgi", f"{sys.executable} -m trio_uwsgi", block.text)
        (tmp_path / Path(str(block.file_name)).name).write_text(text)
    return tmp_path


def harden(units: Path) -> None:
    """Add the page's lines for that to its service."""
    (units / "shop.service.d").mkdir()
    (units / "shop.service.d/harden.conf").write_text(next(text for text in FRAGMENTS if "ProtectSystem" in text))


@pytest.mark.parametrize("hardened", [False, True], ids=["plain", "hardened"])
@pytest.mark.parametrize("name", ["shop.service", "shop.socket", "shop-http.socket"])
def test_units_are_right(units: Path, name: str, hardened: bool) -> None:
    """For the installed version of systemd, without a warning."""
    if hardened:
        harden(units)
    assert "" == analyze("verify", str(units / name))


def test_the_type_of_newer_versions(units: Path) -> None:
    """Version 253 knows `notify-reload`; older ones ignore it with a warning."""
    text = (units / "shop.service").read_text()
    line = next(text for text in FRAGMENTS if "notify-reload" in text).splitlines()[1]
    (units / "shop.service").write_text(text.replace("Type=notify", line))
    warns = "ignoring: notify-reload" in analyze("verify", str(units / "shop.service"))
    assert (version() < 253) == warns


def test_exposure_is_what_the_page_says(units: Path) -> None:
    """As version 252 rates it; others may rate differently."""
    if version() != 252:
        return
    stated = re.search(r"rates the service ([\d.]+) with these lines, and ([\d.]+) without", PAGE)
    assert stated is not None
    without = analyze("security", "--offline=true", str(units / "shop.service"))
    harden(units)
    hardened = analyze("security", "--offline=true", str(units / "shop.service"))
    rated = [re.findall(r"Overall exposure level for shop.service: ([\d.]+)", said)[0] for said in (hardened, without)]
    assert [stated[1], stated[2]] == rated


@pytest.mark.skipif(ACTIVATE is None, reason="systemd-socket-activate is not installed")
def test_a_socket_named_uwsgi_speaks_that_protocol(units: Path, tmp_path: Path) -> None:
    """The name is that of the page's socket unit; the first connection starts the server."""
    (tmp_path / "shop.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"
    )
    name = re.findall(r"FileDescriptorName=(.*)", (units / "shop.socket").read_text())[0]
    path = str(tmp_path / "shop.sock")
    words = [str(ACTIVATE), "-E", "PYTHONPATH", f"--fdname={name}", "-l", path]
    server = Program([*words, sys.executable, "-m", "trio_uwsgi", "shop:app"], tmp_path, [path])
    try:
        values = [b"REQUEST_METHOD", b"GET", b"PATH_INFO", b"/", b"SERVER_PROTOCOL", b"HTTP/1.1"]
        packet = b"".join(len(value).to_bytes(2, "little") + value for value in values)
        answer = exchange(path, bytes([0, *len(packet).to_bytes(2, "little"), 0]) + packet)
        assert b"HTTP/1.1 200 OK" == answer.splitlines()[0]
        assert 0 == server.stop()
    finally:
        server.kill()
