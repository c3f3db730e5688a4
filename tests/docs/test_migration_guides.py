"""The guides for users of other servers: complete tables, and a spool directory that is shared with a real uWSGI."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.interop.peers import TIMEOUT, Program, exchange, find_program, free_port
from trio_uwsgi import uwsgi
from trio_uwsgi._program.command_hints import FOREIGN_OPTIONS
from trio_uwsgi._program.command_options import OPTIONS, flag_of
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi.uwsgi._missing import _FAMILIES, _INSTEAD

GUIDES = ROOT / "docs" / "guides"
FROM_UWSGI = (GUIDES / "from_uwsgi.md").read_text()
FROM_OTHERS = (GUIDES / "from_gunicorn_or_uvicorn.md").read_text()


def section(page: str, heading: str) -> str:
    """The text below a heading of a page."""
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def code(text: str) -> set[str]:
    """What is marked as code."""
    return set(re.findall("`([^`]+)`", text))


def rows(text: str) -> list[list[str]]:
    """The rows of the tables in a text."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return [row for row in found if not row[0].startswith("-")]


def flags(text: str) -> set[str]:
    """The long options in a text."""
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


OURS = {flag_of(option) for option in OPTIONS} | {"--processes", "--log-level", "--factory", "--modifier", "--mount"}
OURS |= {"--config", "--print-config", "--logto", "--compat"}


def test_options_that_are_the_same_exist() -> None:
    """Above the table are names that both servers have; in its second column, only ours."""
    text = section(FROM_UWSGI, "Options")
    assert set() == flags(text.partition("These have another name")[0]) - OURS
    assert set() == flags("".join(row[1] for row in rows(text))) - OURS


def test_every_name_of_uwsgi_is_in_a_table() -> None:
    """Those that exist here, and those for which the error has a hint."""
    shown = section(FROM_UWSGI, "Functions and attributes") + section(FROM_UWSGI, "Decorators")
    named = set(re.findall(r"\w+", " ".join(code(shown))))
    assert set() == set(_INSTEAD) - named
    assert {"gevent", "i_am_the_lord"} == set(_FAMILIES) - named
    own = {"Job", "MuleMessage", "TimerHandle", "registry", "remote_spool", "stopping", "wait_stopping"}
    assert own == set(uwsgi.__all__) - named


def test_names_that_stay_the_same_exist() -> None:
    """Names in rows that say "the same", and all names of decorators here."""
    for old, new in rows(section(FROM_UWSGI, "Functions and attributes")):
        if new.startswith("the same"):
            names = [re.sub(r"\(.*", "", name) for name in re.findall("`([^`]+)`", old)]
            assert [] == [name for name in names if not hasattr(uwsgi, name)]
    for name in re.findall(r"(?<!trio_)uwsgi\.(\w+)", FROM_UWSGI):
        assert hasattr(uwsgi, name) or name in ("ini", "spooler"), name


@pytest.mark.real
def test_both_servers_share_the_spool_directory(tmp_path: Path) -> None:
    """The application before and after the move, side by side, as the guide shows them: each job is run once."""
    program = find_program("uwsgi", "pyuwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    (tmp_path / "jobs").mkdir()
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    for block in blocks_of(FROM_UWSGI):
        name = block.file_name
        if name is not None and not name.startswith("/"):
            address = addresses[name == "shop.py"]
            (tmp_path / name).write_text(block.text.replace("127.0.0.1:3031", address))
    (tmp_path / "ours").mkdir()
    ours = [sys.executable, "-m", "trio_uwsgi", "shop:application", "--chdir", str(tmp_path)]
    servers = [Program([program, "--ini", "uwsgi.ini", "--die-on-term"], tmp_path, addresses[:1])]
    try:
        servers.append(Program(ours, tmp_path / "ours", addresses[1:]))
        for number in range(20):
            packet = encode_packet(0, 0, encode_vars([(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/%d" % number)]))
            assert b"queued" in exchange(addresses[number % 2], packet)
        deadline = time.monotonic() + TIMEOUT
        while any((tmp_path / "jobs").glob("uwsgi_spoolfile_on_*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        logs = [server.wait_for_log("invoice ") for server in servers]
    finally:
        codes = [server.stop() for server in servers]
    assert [0, 0] == codes
    assert list(range(20)) == sorted(int(number) for log in logs for number in re.findall(r"^invoice (\d+)", log, re.M))


def test_every_option_of_other_servers_with_a_hint_is_in_the_table() -> None:
    """What the command line says about options of gunicorn, uvicorn and hypercorn, the guide says too."""
    named = {flag.lstrip("-") for row in rows(section(FROM_OTHERS, "Options")) for flag in code("".join(row[:2]))}
    assert set() == set(FOREIGN_OPTIONS) - named


def test_options_for_users_of_other_servers_exist() -> None:
    """The last columns of the tables have only options of ours."""
    tables = [*rows(section(FROM_OTHERS, "Options")), *rows(section(FROM_OTHERS, "Translate the command line"))]
    assert set() == flags("".join(row[-1] for row in tables)) - OURS
