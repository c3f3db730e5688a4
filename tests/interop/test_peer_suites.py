"""The test suites of Starlette, FastAPI, Flask and Werkzeug, whose test clients ask ours over a real socket.

Each test that passes with the suite's own client must pass over a socket too; `suites/exceptions.toml` lists those that
cannot, each with its reason, and none of them for a fault of ours. What `suites/over_socket.py` replaces is said there.
Not run are tests of the test clients themselves, and of what asks no server.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.peer_suites import ROOT, SUITES, Outcome, pins, run

pytestmark = pytest.mark.real

FOLDER = Path(os.environ.get("PEER_SUITES", ROOT / ".peers"))
EXCEPTIONS = tomllib.loads((SUITES / "exceptions.toml").read_text())


class Suite(NamedTuple):
    """What is run of a suite.

    `files` is a pattern of the beginnings of names in its folder of tests; `without` of parts of those that are left
    out. At least `asking` tests must have asked over a socket, or the client was not replaced.
    """

    files: str
    without: str
    asking: int


SUITES_RUN = {
    "starlette": Suite(r"", r"testclient|opentelemetry", 450),
    "fastapi": Suite(
        r"test_([^/]*(form|file|upload|body|stream|sse|response|cookie|header|middleware|exception|dependency|redirect"
        r"|limits|security_http|websocket|ws_)|router_events|application|custom_route|frontend|put_no_body|extra_routes)",
        r"openapi|schema|description|telemetry|logfire|sentry",
        350,
    ),
    "flask": Suite(r"", r"_cli", 200),
    "werkzeug": Suite(r"test_(wsgi|wrappers|test|debug|exceptions|formparser|utils)\.|middleware", r"lint", 50),
}
RUNS = [("fastapi", "tasks"), ("starlette", "tasks"), *(("flask", mode) for mode in ("tasks", "threads", "inline"))]
RUNS += [("werkzeug", "tasks")]


def files_of(name: str) -> list[str]:
    """The files of a suite that are run."""
    suite = SUITES_RUN[name]
    folder = FOLDER / f"{name}-{pins()[name]}"
    found = []
    for path in sorted((folder / "tests").rglob("test_*.py")):
        name = str(path.relative_to(folder / "tests"))
        if re.match(suite.files, name) and not re.search(suite.without, name):
            found.append(f"tests/{name}")
    return found


class Report(NamedTuple):
    """What became of one run: its outcomes, its log, and which of its failures the suite has with its own client."""

    outcomes: dict[str, Outcome]
    log: str
    own_failures: set[str]


def whole_run(name: str, mode: str, folder: Path) -> Report:
    """Run a suite over a socket, and then, with its own client, what has failed and is no exception."""
    report = folder / f"{name}-{mode}.json"
    outcomes = run(FOLDER, name, mode, report, files_of(name))
    known = tuple(EXCEPTIONS[name])
    failed = [test for test, outcome in outcomes.items() if outcome.result == "failed" and not test.startswith(known)]
    own = run(FOLDER, name, "own", folder / f"{name}-{mode}-own.json", failed) if failed else {}
    log = report.with_suffix(".log").read_text()
    return Report(outcomes, log, {test for test, outcome in own.items() if outcome.result == "failed"})


@pytest.mark.parametrize(("name", "mode"), RUNS)
def test_a_suite_over_a_socket(tmp_path: Path, name: str, mode: str) -> None:
    """What passes in the suite's own process passes over a socket, but for the exceptions; and those are needed."""
    if not FOLDER.exists():
        pytest.skip(f"the suites are not there: python tests/interop/peer_suites.py {FOLDER.name}")
    report = whole_run(name, mode, tmp_path)
    exceptions: dict[str, str] = EXCEPTIONS[name]
    failed = {
        test: outcome.reason
        for test, outcome in report.outcomes.items()
        if outcome.result == "failed" and test not in report.own_failures
    }
    unexpected = {test: why for test, why in failed.items() if not test.startswith(tuple(exceptions))}
    assert {} == unexpected
    assert [] == [start for start in exceptions if not any(test.startswith(start) for test in failed)]
    asking = [test for test, outcome in report.outcomes.items() if outcome.requests]
    assert SUITES_RUN[name].asking < len(asking)
    assert len(asking) < len(re.findall(r'INFO 127\.[\d.:]+ - "', report.log)), "the access log was not on"
