"""The access log: one line per response, through `logging`, out of the requests' way.

A response costs a tuple in a list; formatting and logging happen in batches in a task of their own. What the client
chose is escaped, so that it cannot forge lines or send sequences to a terminal.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_uwsgi._http.access_record import Record

logger = logging.getLogger("trio_uwsgi.access")

# Lines kept before they are written at once by whoever adds the next: a log slower than the server slows the server
# down, instead of growing memory or losing lines.
QUEUE = 4096
# Lines written between two checkpoints, so that a slow log stream delays other tasks by a batch and not by a queue.
BATCH = 64


class AccessLog:
    """Records waiting to be written, at most `QUEUE`."""

    __slots__ = ("_lot", "_records")

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._lot = trio.lowlevel.ParkingLot()

    @staticmethod
    def enabled() -> bool:
        """Would anything be written? Asked once, when a worker starts."""
        return logger.isEnabledFor(logging.INFO)

    def add(self, record: Record) -> None:
        """Remember a response. Never waits, but writes everything at once when too much is waiting."""
        self._records.append(record)
        if self._lot:
            self._lot.unpark()
        elif len(self._records) >= QUEUE:
            self.flush(QUEUE)

    def flush(self, count: int) -> None:
        """Write the oldest `count` records."""
        batch, self._records[:count] = self._records[:count], []
        for record in batch:
            logger.info("%s", record)

    async def serve(self) -> None:
        """Write records until cancelled, and what is left then."""
        try:
            while True:
                if not self._records:
                    await self._lot.park()
                await trio.lowlevel.checkpoint()
                self.flush(BATCH)
        finally:
            self.flush(len(self._records))
