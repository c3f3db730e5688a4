"""What the numbers of one worker's instances say, as a table."""

from __future__ import annotations

import pytest

from trio_uwsgi._runtime.worker_statistics import worker_statistics

pytestmark = pytest.mark.pure

RUNS = {
    "pid": 7,
    "heartbeat": 1.0,
    "stopping": 0,
    "paused": 0,
    "signal": 0,
    "last_spawn": 5.5,
    "requests": 0,
    "before": 0,
}
GONE = dict.fromkeys(RUNS, 0.0)


@pytest.mark.parametrize(
    ("numbers", "status", "accepting"),
    [
        (RUNS, "idle", True),
        ({**RUNS, "running": 2}, "busy", True),
        ({**RUNS, "signal": 1, "running": 2}, "sig0", True),
        ({**RUNS, "paused": 1}, "pause", False),
        ({**RUNS, "paused": 1, "running": 1}, "busy", False),
        ({**RUNS, "stopping": 1}, "idle", False),
        ({**RUNS, "heartbeat": 0}, "idle", False),
        (GONE, "cheap", False),
    ],
)
def test_the_status(numbers: dict[str, float], status: str, accepting: bool) -> None:
    """It is uWSGI's word for what the last instance does."""
    found = worker_statistics(1, [numbers])
    assert (status, accepting) == (found.status, found.accepting)


def test_two_instances_are_added_up() -> None:
    """What they did is a sum; the process, the start and the latest requests are those of the one that started last."""
    older = {**RUNS, "requests": 10, "running": 1, "micros": 900, "spawns": 3, "sent": 4}
    newer = {**RUNS, "pid": 8, "last_spawn": 9.5, "requests": 7, "before": 5, "micros": 600, "spawns": 1, "sent": 1}
    found = worker_statistics(2, [older, newer])
    assert (2, 8, 9, 2) == (found.number, found.pid, found.last_spawn, found.delta_requests)
    assert (17, 1, 1500, 4, 5) == (found.requests, found.running, found.micros, found.spawns, found.sent)
    assert 1500 // 16 == found.average


def test_without_requests_there_is_no_average() -> None:
    """It is 0, and a worker without a process has no latest requests."""
    found = worker_statistics(1, [{**GONE, "requests": 1, "running": 1}])
    assert (0, 0) == (found.average, found.delta_requests)
