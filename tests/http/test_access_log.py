"""The access log of a service: lines that go straight to the server's log, and what the user changes meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._units.log_handler import LogHandler, set_up_logging

LOGGER = logging.getLogger("trio_uwsgi.access")


class Kept(logging.Handler):
    """A handler of the user, which keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def own_log(path: Path) -> Iterator[LogHandler]:
    """The log is the server's own, as on the command line, and writes to this file."""
    before, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers[:] = []
    try:
        set_up_logging("INFO", "%(levelname)s %(name)s %(message)s", sys.stderr)
        (handler,) = logging.root.handlers
        assert isinstance(handler, LogHandler)
        with path.open("a") as stream:
            handler.setStream(stream)
            yield handler
    finally:
        logging.root.handlers[:] = before
        logging.root.setLevel(level)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An application that logs, too."""
    logging.getLogger("shop").info("%s", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The same."""
    logging.getLogger("shop").info("%s", environ["PATH_INFO"])
    start_response("200 OK", [])
    return [b"ok"]


@pytest.mark.parametrize(("app", "threads"), [(asgi, 0), (wsgi, 2), (wsgi, 0)])
async def test_lines_and_records_are_in_their_order(app: Any, threads: int, open_http: Any, tmp_path: Path) -> None:
    """Of several clients, in each mode: a line comes after what its request has logged, and before the next one's."""
    with own_log(tmp_path / "log"):
        world = await open_http(app, interface="asgi" if app is asgi else "wsgi", threads=threads, access_log=True)
        clients = [world.connect() for _ in range(3)]
        for number in range(4):
            for client in clients:
                await client.get(f"/{number}")
        await wait_all_tasks_blocked()
        lines = (tmp_path / "log").read_text().splitlines()
    expected = []
    for number in range(4):
        access = rf'INFO trio_uwsgi\.access 192\.0\.2\.1:4711 - "GET /{number} HTTP/1\.1" 200 2b [\d.]+ms'
        expected += [f"INFO shop /{number}", access] * 3
    assert len(expected) == len(lines)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, lines, strict=True))


async def test_a_handler_that_comes_later(open_http: Any, tmp_path: Path) -> None:
    """From then on each line is a record, which has the response; without the handler lines go straight again."""
    kept = Kept()
    with own_log(tmp_path / "log"):
        client = (await open_http(asgi, access_log=True)).connect()
        await client.get("/before")
        await wait_all_tasks_blocked()
        LOGGER.addHandler(kept)
        try:
            await client.get("/with")
            await wait_all_tasks_blocked()
        finally:
            LOGGER.removeHandler(kept)
        await client.get("/after")
        await wait_all_tasks_blocked()
        lines = [line for line in (tmp_path / "log").read_text().splitlines() if "access" in line]
    assert ["/before", "/with", "/after"] == [line.split()[5] for line in lines]
    (record,) = kept.records
    assert isinstance(record.args, tuple)
    (response,) = record.args
    assert (b"/with", 200) == (response.request.target, response.status)  # type: ignore[attr-defined]
    assert record.getMessage() in lines[1]


async def test_long_turns(open_http: Any, tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that blocks the loop delays the lines of others by a moment only."""
    log = tmp_path / "log"
    seen = []

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        autojump_clock.jump(0.06)
        seen.append(len(log.read_text().splitlines()))
        start_response("200 OK", [])
        return [b"ok"]

    with own_log(log):
        world = await open_http(slow, interface="wsgi", threads=0, access_log=True)
        client = world.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 6)
        await trio.sleep(1)
        assert 6 == len(log.read_text().splitlines())
    assert 0 == seen[0]
    assert seen == sorted(seen)
    assert max(seen) >= 2


async def test_the_level_is_raised_later(open_http: Any, tmp_path: Path) -> None:
    """Lines are left out from then on."""
    with own_log(tmp_path / "log"):
        client = (await open_http(asgi, access_log=True)).connect()
        await client.get("/before")
        await wait_all_tasks_blocked()
        LOGGER.setLevel(logging.WARNING)
        try:
            await client.get("/after")
            await wait_all_tasks_blocked()
        finally:
            LOGGER.setLevel(logging.NOTSET)
        text = (tmp_path / "log").read_text()
    assert "access" in text
    assert "GET /after" not in text


async def test_a_log_that_nobody_reads_without_free_descriptors(
    open_http: Any, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """The system cannot say when the log takes lines. It is tried again after a second; requests are answered."""
    reader, writer = os.pipe()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with own_log(tmp_path / "log") as handler, open(reader, "rb") as lines, open(writer, "w") as stream:
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
        handler.setStream(stream)
        world = await open_http(wsgi, interface="wsgi", threads=0, access_log=True)
        client = world.connect()
        logging.getLogger("shop").setLevel(logging.WARNING)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            for _ in range(2):
                await client.get("/")
                await trio.sleep(3)
            os.set_blocking(reader, False)
            lines.read()
            await trio.sleep(2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            logging.getLogger("shop").setLevel(logging.NOTSET)
        assert 2 == lines.read().count(b"GET / ")
