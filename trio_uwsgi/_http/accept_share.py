"""One worker's share of new connections, from the numbers in the scoreboard.

The rule is in `fair_share.py`; `fair_reactor.py` accepts by it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from trio_uwsgi._http.fair_share import STALE, accept_delay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_uwsgi._http.socket_session import SocketSession
    from trio_uwsgi._link.scoreboard import Row

__all__ = ["CountedSessions", "Share"]

# Seconds between two searches for added workers.
LOOK = 0.05


class Share:
    """One worker's share of new connections.

    Args:
        mine: its row of the scoreboard.
        others: the rows of the other workers.
    """

    __slots__ = ("_looked", "_mine", "_others", "_present")

    def __init__(self, mine: Row, others: Sequence[Row]) -> None:
        self._mine = mine
        self._others = others
        self._present: list[Row] = []  # those of `_others` that had a worker at the last search
        self._looked = -math.inf

    def accept_delay(self) -> float:
        """Seconds to delay accepting; 0 is to accept now."""
        now = time.monotonic()
        if now - self._looked > LOOK:  # most rows are for workers that may be added, and this runs for each client
            self._looked = now
            self._present = [row for row in self._others if row.get("heartbeat")]
        if not self._present:
            return 0.0
        since = now - STALE
        others = [row.get("open") for row in self._present if row.get("accepting") and row.get("heartbeat") > since]
        return accept_delay(self._mine.get("open"), others)

    def set_open(self, connections: int) -> None:
        """Publish the number of open connections."""
        self._mine.set("open", connections)

    def set_accepting(self, accepting: bool) -> None:
        """Publish whether this worker accepts: its peers wait only for those that do."""
        self._mine.set("accepting", accepting)


class CountedSessions(dict[int, "SocketSession"]):
    """The sessions of a reactor; their number is in the scoreboard."""

    __slots__ = ("_share",)

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def __setitem__(self, fd: int, session: SocketSession) -> None:
        super().__setitem__(fd, session)
        self._share.set_open(len(self))

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        self._share.set_open(len(self))
