"""Durable jobs under kill -9, with the script that readers run at full length: `benchmarks/spool_kills.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.spool_kills import kill_until_done

pytestmark = pytest.mark.real


@pytest.mark.parametrize("jobs", [50, pytest.param(300, marks=pytest.mark.long)])
def test_no_job_is_lost_by_kills(tmp_path: Path, jobs: int) -> None:
    """Every accepted job ran at least once and was whole, however often the runtime was killed."""
    found = kill_until_done(tmp_path, jobs, every=0.15, processes=2, limit=60)
    assert jobs == found.accepted == found.ran
    assert (0, 0, 0) == (found.lost, found.half, found.dead)
    assert found.again <= 2 * found.kills  # each spooler runs one job at a time
