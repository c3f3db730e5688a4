"""The guide on logging: several processes write one file, which is renamed meanwhile, and no line is lost or mixed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.interop.peers import TIMEOUT, Program, free_port

pytestmark = pytest.mark.real

REQUESTS = 200


def test_a_file_is_renamed_while_processes_write_it(tmp_path: Path) -> None:
    """As logrotate does, with the page's configuration."""
    for block in blocks_of((ROOT / "docs/guides/logging.md").read_text()):
        if block.language == "python" and block.file_name:
            (tmp_path / block.file_name).write_text(block.text)
    address = f"127.0.0.1:{free_port()}"
    words = [sys.executable, "-m", "trio_uwsgi", "filed:app", "--processes", "3", "--http", address]
    server = Program(words, tmp_path, [address])
    try:
        # A connection for each request, so that all workers write.
        with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=TIMEOUT) as client:
            for number in range(REQUESTS):
                if number in (50, 120):
                    (tmp_path / "shop.log").rename(tmp_path / f"shop.log.{number}")
                assert 200 == client.get(f"http://{address}/{number}").status_code
        assert 0 == server.stop()
    finally:
        server.kill()
    files = sorted(tmp_path.glob("shop.log*"))
    assert ["shop.log", "shop.log.120", "shop.log.50"] == [file.name for file in files]
    assert 3 == len({line.split()[3] for file in files for line in file.read_text().splitlines()})
    lines = [line for file in files for line in file.read_text().splitlines()]
    of_the_application = [number for line in lines for number in re.findall(r"INFO \d+ shop: /(\d+) is open$", line)]
    of_the_access_log = [
        number
        for line in lines
        for number in re.findall(r'trio_uwsgi.access: [\d.:]+ - "GET /(\d+) HTTP/1.1" 200', line)
    ]
    every_request = [str(number) for number in range(REQUESTS)]
    assert every_request == sorted(of_the_application, key=int)
    assert every_request == sorted(of_the_access_log, key=int)
    assert 2 * REQUESTS == len(lines)
