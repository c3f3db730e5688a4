"""Autobahn's test suite for WebSockets, as a client of an application that says everything back.

Each case must be strict (OK) or acceptable (NON-STRICT): where a client sends a message and then something that is not
allowed, in one piece, the connection may be closed before the message is answered.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.interop.peer_suites import ROOT, python_2
from tests.interop.peers import TIMEOUT
from tests.real.commands import running

FOLDER = Path(os.environ.get("TRIO_UWSGI_PEERS", ROOT / ".peers")) / "autobahn"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.exists(), reason="python tests/interop/peer_suites.py .peers fetches the suite"),
]

APP = """
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
"""
ACCEPTABLE = {"OK", "NON-STRICT", "INFORMATIONAL"}


@pytest.mark.parametrize(
    ("cases", "least"),
    [
        (["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"], 246),
        pytest.param(["9.*", "12.1.*", "13.1.*", "13.3.*"], 100, marks=pytest.mark.long),
    ],
    ids=["frames", "large and compressed"],
)
def test_autobahn(cases: list[str], least: int, tmp_path: Path) -> None:
    """Nothing fails; a table of all is in the log of the run."""
    (tmp_path / "echo.py").write_text(APP)
    with running(tmp_path, "echo:app", "-p", "1", "--max-websocket-message", str(1 << 25)) as server:
        host, port = server.address
        spec = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": "ours", "url": f"ws://{host}:{port}"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        subprocess.run(
            [python_2(), FOLDER / "bin/wstest", "-m", "fuzzingclient", "-s", tmp_path / "spec.json"],
            env={**os.environ, "PYTHONPATH": str(FOLDER)},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=TIMEOUT * 10,
        )
    results = json.loads((tmp_path / "reports" / "index.json").read_text())["ours"]
    assert least <= len(results)
    wrong = {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= ACCEPTABLE
    }
    assert {} == wrong
