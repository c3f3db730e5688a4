"""A Trio run that does not end by itself is ended with its process, and the tasks that are left are logged."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.real.commands import body
from tests.real.test_ends import APP, MORE, ended, started

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]

SHIELDED = """
import trio
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
"""


def test_it_shows_the_tasks_that_are_left(tmp_path: Path) -> None:
    """The thread that ends the process shows the tasks of the Trio run, although it is not in that."""
    with started(tmp_path, SHIELDED, "--mercy", "0.5") as server:
        server.read("of process")
        port = re.search(r"http on 127.0.0.1:(\d+)", server.said)
        assert port is not None
        server.address = "127.0.0.1", int(port[1])
        with server.client() as client:
            assert "ok" == body(client)
        server.process.send_signal(signal.SIGTERM)
        server.read("a second signal stops immediately")
        server.process.send_signal(signal.SIGTERM)
        assert 143 == ended(server, MORE)
    assert "did not stop within the mercy" in server.said
    assert "(request GET /)" in server.said
    assert "no Trio run" not in server.said


@pytest.mark.parametrize("placement", [(), ("-p", "1")], ids=["tasks", "processes"])
def test_a_mercy_beyond_what_a_timer_can_wait(tmp_path: Path, placement: tuple[str, ...]) -> None:
    """It is a limit that never ends, as one for the import is, and no traceback of a timer at each start and stop."""
    with started(tmp_path, APP, "--mercy", "1e10", "--import-timeout", "1e10", *placement) as server:
        server.read("of process")
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MORE)
    assert "Traceback" not in server.said, server.said


@pytest.mark.parametrize("where", ["request", "lifespan"])
def test_a_shield_does_not_outlast_the_mercy(tmp_path: Path, where: str) -> None:
    """Code that cannot be cancelled delays a graceful stop for the mercy and a little, and no longer."""
    source = SHIELDED
    if where == "lifespan":
        source += """
    while scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
"""
    with started(tmp_path, source, "--mercy", "0.5") as server:
        server.read("of process")
        port = re.search(r"http on 127.0.0.1:(\d+)", server.said)
        assert port is not None
        server.address = "127.0.0.1", int(port[1])
        if where == "request":
            with server.client() as client:
                assert "ok" == body(client)
        server.process.send_signal(signal.SIGTERM)
        assert 0 == ended(server, MORE)
    assert "did not stop within the mercy" in server.said
