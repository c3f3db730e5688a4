"""How long a worker leaves a new connection to the others who wait for it too. Pure.

All workers wait for the same listening sockets, and who is woken first takes what is there: without a rule one of them
may have all connections. The rule: who has more than the mean waits a little, once, and then takes one all the same. So
nobody is starved by others who are slow, and the wait is the longer the more there are that should have come first.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["STALE", "patience"]

# Seconds without a sign of life after which a worker counts no more: it is stopped, stuck or dead.
STALE = 1.0
# Seconds to wait for each connection above the mean, and at most. 3 ms is what a client may notice, just.
EACH = 0.0005
LONGEST = 0.003
# Connections above the mean that are as good as none, and the same as a part of the mean: or two equal workers would
# take turns in waiting.
SLACK = 0.5
SLACK_PART = 1 / 16


def patience(mine: float, others: Sequence[float]) -> float:
    """Seconds to leave a new connection to others; 0 is to take it now.

    Args:
        mine: connections that are open here.
        others: the same of each of the others who can take one.
    """
    mean = (mine + sum(others)) / (1 + len(others))
    excess = mine - mean
    if excess <= max(SLACK, mean * SLACK_PART):
        return 0.0
    return min(LONGEST, EACH * excess)
