"""How long a worker delays accept(), so that its peers get their share of new connections. Pure.

All workers wait for the same listening sockets, and the first one that wakes accepts what is waiting: without a rule
one worker may get all connections. The rule: a worker with more connections than the mean waits once, the longer the
more it has, and then accepts one all the same. So slow peers cannot keep a client waiting.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["STALE", "accept_delay"]

# Seconds without a heartbeat after which a worker does not count: it is stopped, blocked or dead.
STALE = 1.0
# Seconds of delay for each connection above the mean, and the limit of the sum. A client hardly notices 3 ms.
EACH = 0.0005
LONGEST = 0.003
# Connections above the mean that do not count, as a number and as a part of the mean. Otherwise two equal workers would
# take turns in waiting.
SLACK = 0.5
SLACK_PART = 1 / 16


def accept_delay(mine: float, others: Sequence[float]) -> float:
    """Seconds to delay accepting; 0 is to accept now.

    Args:
        mine: open connections of this worker.
        others: open connections of each other worker that can accept.
    """
    mean = (mine + sum(others)) / (1 + len(others))
    excess = mine - mean
    if excess <= max(SLACK, mean * SLACK_PART):
        return 0.0
    return min(LONGEST, EACH * excess)
