"""When a member's event loop counts as blocked for too long."""

from __future__ import annotations

import math

import pytest

from trio_uwsgi._process.watchdog_rules import GRACE, BlockedLimit

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("limit", "heartbeat", "deadline", "due"),
    [
        (0, 100, 0, math.inf),
        (0, 100, 103, 103 + GRACE),
        (2, 100, 0, 102 + GRACE),
        (2, 100, 101, 101 + GRACE),
        (2, 100, 200, 102 + GRACE),
        (2, 100, 99, 102 + GRACE),
        (0, 100, 99, math.inf),
        (2, 0, 50, math.inf),
    ],
)
def test_the_earlier_limit_counts(limit: float, heartbeat: float, deadline: float, due: float) -> None:
    """The limit or the code's own deadline ends, whichever is first; before the first heartbeat neither counts."""
    assert due == BlockedLimit(limit).due(heartbeat, deadline)


def test_a_restarted_limit_counts_anew() -> None:
    """Time before a restart of the limit does not count, for either limit."""
    blocked_limit = BlockedLimit(2)
    blocked_limit.restart(110)
    assert 112 + GRACE == blocked_limit.due(100, 0)
    assert 110 + GRACE == blocked_limit.due(100, 101)
    assert 122 + GRACE == blocked_limit.due(120, 0)
