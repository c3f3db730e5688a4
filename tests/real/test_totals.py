"""Signals under kill -9, with the script that readers run at full length: `benchmarks/totals.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.totals import Run

pytestmark = pytest.mark.real


@pytest.mark.long
async def test_signals_are_run_or_said_to_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often members are killed: what the runtime counts, what was raised and what handlers did adds up."""
    run = Run("signals", 800, tmp_path)
    for name in ("FOLDER", "WHAT", "TIMES"):
        monkeypatch.setenv(f"TOTALS_{name}", "")  # so that what is set is unset again
    await run.measure(every=0.2, min_age=0.0, most=5)  # each member once, because repeated deaths make pauses
    assert run.kills
    assert run.report()
