"""How long a worker delays accepting a new connection."""

from __future__ import annotations

import pytest

from trio_uwsgi._http.fair_share import LONGEST, accept_delay

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("mine", "others", "seconds"),
    [
        (0, [], 0),
        (1000, [], 0),
        (0, [0], 0),
        (1, [0], 0),  # half a connection above the mean is none
        (2, [0], 0.0005),
        (3, [1], 0.0005),
        (4, [0, 0, 0], 0.0015),
        (7, [0], 0.00175),
        (20, [0], LONGEST),
        (0, [5], 0),
        (33, [31], 0),  # two above the mean of 32 are within its sixteenth
        (36, [32], 0),
        (38, [30], 0.002),
        (100, [1, 1], LONGEST),
    ],
)
def test_a_worker_above_the_mean_waits(mine: int, others: list[float], seconds: float) -> None:
    """There is no delay at the mean or slightly above it; beyond, it grows with the excess, up to a limit."""
    assert seconds == pytest.approx(accept_delay(mine, others))


def test_the_rule_is_fair() -> None:
    """Sixty-four connections that stay, each taken by whoever waits least and was first, go to four in equal parts."""
    workers = [0, 0, 0, 0]
    for turn in range(64):
        order = [(turn * 7 + n) % 3 for n in range(4)]  # the first one to look is not always the same
        waits = [accept_delay(mine, workers[:n] + workers[n + 1 :]) for n, mine in enumerate(workers)]
        workers[min(range(4), key=lambda n: (waits[n], order[n]))] += 1
    assert max(workers) <= 1.2 * 16
    assert min(workers) >= 0.8 * 16
