"""What uWSGI's stats say of the programs beside the server: daemons, and crons that run commands."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.real.servers import Server, serving, until

pytestmark = pytest.mark.real

FIXTURE = Path(__file__).parents[1] / "fixtures" / "uwsgi" / "stats_full.json"
OPTIONS = (
    *("--stats", "unix:stats", "--attach-daemon", "sleep 1000"),
    *("--cron", "-5 -1 -1 -1 -1 /bin/true", "--cron", "*/5 1-3 * * * true"),
)


def page_of(server: Server) -> Any:
    """What the stats server sends."""
    data = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(Path(server.socket).parent / "stats"))
        while more := client.recv(65536):
            data += more
    return json.loads(data)


@pytest.mark.parametrize("mode", ["tasks", "processes"])
def test_daemons_and_crons(mode: str, tmp_path: Path) -> None:
    """They have uWSGI's fields, and a daemon its process, also after that was killed and started again."""
    theirs = json.loads(FIXTURE.read_text())
    with serving(tmp_path, "", mode, *OPTIONS) as server:
        server.wait_for("daemon sleep 1000 is process")
        page = page_of(server)
        (daemon,) = page["daemons"]
        assert list(theirs["daemons"][0]) == list(daemon)
        assert ("sleep 1000", 0) == (daemon["cmd"], daemon["respawns"])
        assert theirs["crons"][0] == page["crons"][0] | {"unique": 1}
        assert ("*/5 1-3 * * *", "true", -1) == tuple(page["crons"][1][name] for name in ("crontab", "command", "pid"))
        os.kill(daemon["pid"], signal.SIGKILL)
        until(lambda: page_of(server)["daemons"][0]["pid"] not in (0, daemon["pid"]), 60)
        assert 1 == page_of(server)["daemons"][0]["respawns"]
        assert 0 == server.end(seconds=60)
