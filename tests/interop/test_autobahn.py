"""Autobahn's test suite for WebSockets: every case must be strict (OK) or acceptable (NON-STRICT).

Where a client sends a message and then something that is not allowed, in one piece, the connection may be closed before
the message is answered. The cases of large and of compressed messages take the suite many minutes, of which a few are
run here; `python -m tests.interop.autobahn FOLDER` runs all.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop import autobahn
from tests.interop.peer_suites import ROOT

SUITE = Path(os.environ.get("PEER_SUITES", ROOT / ".peers")) / "autobahn"
SECONDS = 200

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SUITE.exists(), reason="python tests/interop/peer_suites.py .peers fetches the suite"),
]

ACCEPTABLE = {"OK", "NON-STRICT", "INFORMATIONAL"}


@pytest.mark.parametrize(
    ("cases", "least"),
    [
        (["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"], 246),
        (["9.1.1", "9.1.2", "9.2.1", "9.3.5", "9.5.5", "12.1.1", "12.1.2", "12.2.1", "13.1.1", "13.3.1"], 10),
    ],
    ids=["frames", "some of the large and compressed"],
)
def test_autobahn(cases: list[str], least: int, tmp_path: Path) -> None:
    """Nothing fails."""
    outcomes = autobahn.run(SUITE, tmp_path, cases, SECONDS)
    assert least <= len(outcomes)
    assert {} == {case: outcome for case, outcome in outcomes.items() if not set(outcome) <= ACCEPTABLE}
