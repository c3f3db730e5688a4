"""State of the process that an application changes when it is imported: the server's own work does not depend on it."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import pytest

from tests.real.servers import every_mode, serving

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")]


@every_mode
def test_a_default_timeout_of_sockets(tmp_path: Path, mode: str) -> None:
    """`socket.setdefaulttimeout` reaches no socket of the server: clients who wait before they ask are answered, and so
    are those beside them, at once; and it stops at once.
    """
    source = "import socket; socket.setdefaulttimeout(1)"
    words = ("--mules", "1", "--spooler", "spool", "--socket", "unix:p")
    with serving(tmp_path, source, mode, *words) as server, contextlib.ExitStack() as clients:
        began = time.monotonic()
        slow = [clients.enter_context(contextlib.closing(server.connection())) for _ in range(4)]
        for client in slow:
            client.connect()
        first = server.get("/pid")
        assert time.monotonic() - began < 0.9
        time.sleep(1.2)
        for client in slow:
            client.request("GET", "/hello")
            assert b"hello" == client.getresponse().read()
        assert first in {server.get("/pid") for _ in range(50)}
        clients.close()
        assert 0 == server.end(seconds=5)
        assert "timed out" not in server.said
        assert " died" not in server.said
