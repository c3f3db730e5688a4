"""One worker's share of new connections, and the numbers in the scoreboard that it is computed of.

The rule is in `fair_share.py`; `fair_reactor.py` follows it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from trio_uwsgi._http.fair_share import STALE, patience

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_uwsgi._http.socket_session import SocketSession
    from trio_uwsgi._link.scoreboard import Row

__all__ = ["CountedSessions", "Share"]

# Seconds between two looks for workers that have come.
LOOK = 0.05


class Share:
    """One worker's part in accepting.

    Args:
        mine: its row.
        others: those of the other workers.
    """

    __slots__ = ("_looked", "_mine", "_others", "_present")

    def __init__(self, mine: Row, others: Sequence[Row]) -> None:
        self._mine = mine
        self._others = others
        self._present: list[Row] = []  # those of `_others` where somebody was at the last look
        self._looked = -math.inf

    def patience(self) -> float:
        """Seconds to leave a new connection to others; 0 is to take it now."""
        now = time.monotonic()
        if now - self._looked > LOOK:  # most rows are for workers that may be added, and this is asked for each client
            self._looked = now
            self._present = [row for row in self._others if row.get("heartbeat")]
        since = now - STALE
        others = [row.get("open") for row in self._present if row.get("accepting") and row.get("heartbeat") > since]
        return patience(self._mine.get("open"), others)

    def has(self, connections: int) -> None:
        """This many are open now."""
        self._mine.set("open", connections)

    def accepts(self, accepting: bool) -> None:
        """Others may leave connections to this worker, or not any more."""
        self._mine.set("accepting", accepting)


class CountedSessions(dict[int, "SocketSession"]):
    """A reactor's sessions, whose number all workers know."""

    __slots__ = ("_share",)

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def __setitem__(self, fd: int, session: SocketSession) -> None:
        super().__setitem__(fd, session)
        self._share.has(len(self))

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        self._share.has(len(self))
