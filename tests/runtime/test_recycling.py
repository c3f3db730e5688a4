"""When a worker has done enough."""

from __future__ import annotations

import pytest

from trio_uwsgi._runtime.recycling import ASK_AGAIN_AFTER, RecyclingCheck
from trio_uwsgi.config.options import RecyclingLimits

pytestmark = pytest.mark.pure

MB = 1024**2


def test_without_limits_no_worker_is_recycled() -> None:
    """A limit of 0 is never reached."""
    assert "" == RecyclingCheck(RecyclingLimits(), 0.9, 0).reason(1e9, 1e9, 1e15)


def test_each_limit_has_its_reason() -> None:
    """A limit that is reached is named, with its value."""
    recycling = RecyclingCheck(RecyclingLimits(requests=10, lifetime=60, rss=50 * MB), 0, 100)
    assert "" == recycling.reason(159, 9, 50 * MB - 1)
    assert "it has served 10 requests (max_requests is 10)" == recycling.reason(159, 10, 0)
    recycling = RecyclingCheck(RecyclingLimits(requests=10, lifetime=60, rss=50 * MB), 0, 100)
    assert "it has run for 60 s (max_worker_lifetime)" == recycling.reason(160, 9, 0)
    recycling = RecyclingCheck(RecyclingLimits(requests=10, lifetime=60, rss=50 * MB), 0, 100)
    assert "it uses 51 MB of memory (reload_on_rss is 50 MB)" == recycling.reason(101, 9, 51 * MB)


def test_workers_differ_by_the_delta() -> None:
    """Chance says how many more, up to the delta itself."""
    limits = RecyclingLimits(requests=10, requests_delta=4)
    for chance, requests in ((0, 10), (0.5, 12), (0.999, 14)):
        recycling = RecyclingCheck(limits, chance, 0)
        assert "" == recycling.reason(0, requests - 1, 0)
        assert recycling.reason(0, requests, 0)


def test_the_request_is_repeated_after_a_while() -> None:
    """The replacement may not have started."""
    recycling = RecyclingCheck(RecyclingLimits(requests=1), 0, 0)
    assert recycling.reason(5, 1, 0)
    assert "" == recycling.reason(5 + ASK_AGAIN_AFTER - 1, 2, 0)
    assert recycling.reason(5 + ASK_AGAIN_AFTER, 2, 0)
