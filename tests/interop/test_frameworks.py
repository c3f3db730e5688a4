"""What docs/explanation/trio_and_asyncio.md says of frameworks, for those that the tests have: `frameworks.py`."""

import sys

import pytest

from tests.interop.frameworks import ROWS, outcome

RESULTS = {
    "Flask": "ok",
    "Starlette": "ok",
    "Starlette, `def` endpoint, `BaseHTTPMiddleware`, `BackgroundTask`, streaming": "ok",
    "Starlette, `asyncio.sleep` in an endpoint": "500: RuntimeError: no running event loop"
    " (asyncio does not run here; use Trio's or anyio's functions instead)",
    "httpx, in an ASGI application": "ok",
    "anyio": "ok",
    "asyncio in a thread of its own": "ok",
    "`asyncio.run` in a WSGI view, `--processes 1`": "ok",
}


@pytest.mark.real
@pytest.mark.parametrize("label", RESULTS)
def test_a_framework_runs_or_is_answered_500(label: str) -> None:
    """As the table of the page has it."""
    (row,) = [row for row in ROWS if row.label == label]
    assert RESULTS[label] == outcome(sys.executable, row)
