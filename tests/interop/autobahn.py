"""Autobahn's test suite for WebSockets, as a client of an application that says everything back.

`python -m tests.interop.autobahn FOLDER` runs all of its cases, with the environment of `peer_suites.py` in FOLDER, and
prints how many ended how. Those of large and of compressed messages take it many minutes, nearly all of them its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.interop.peer_suites import python_2
from tests.real.commands import running

APP = """
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
"""


# Those that have cases; the suite never ends if it is asked for others.
SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13)


class Outcome(NamedTuple):
    """How a case ended: its messages, and its closing."""

    behavior: str
    closing: str


def run(suite: Path, folder: Path, cases: list[str], longest: float) -> dict[str, Outcome]:
    """Run cases, and give back how each ended.

    Args:
        suite: where the suite is installed.
        folder: empty; gets the application and the reports.
        cases: patterns of their numbers.
        longest: seconds that all of them may take.
    Raises:
        subprocess.SubprocessError: the suite failed, or took too long.
    """
    (folder / "echo.py").write_text(APP)
    with running(folder, "echo:app", "-p", "1", "--max-websocket-message", str(1 << 25)) as server:
        host, port = server.address
        spec = {
            "outdir": str(folder / "reports"),
            "servers": [{"agent": "ours", "url": f"ws://{host}:{port}"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        subprocess.run(
            [python_2(), suite / "bin/wstest", "-m", "fuzzingclient", "-s", folder / "spec.json"],
            env={**os.environ, "PYTHONPATH": str(suite)},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=longest,
        )
    results = json.loads((folder / "reports" / "index.json").read_text())["ours"]
    return {case: Outcome(result["behavior"], result["behaviorClose"]) for case, result in results.items()}


def main(peers: Path) -> None:
    """Run all cases, section by section, and print a table."""
    print("| section | cases | how the messages ended | how the connection was closed |")
    print("|---|---|---|---|")
    for section in SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = run(peers / "autobahn", Path(folder), [f"{section}.*"], 3600)
        for_messages = Counter(outcome.behavior for outcome in outcomes.values())
        for_closing = Counter(outcome.closing for outcome in outcomes.values())
        counts = [", ".join(f"{n} {how}" for how, n in sorted(each.items())) for each in (for_messages, for_closing)]
        print(f"| {section} | {len(outcomes)} | {counts[0]} | {counts[1]} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
