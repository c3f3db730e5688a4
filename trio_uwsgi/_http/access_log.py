"""Writes the access log: one line per response, through `logging`.

A response costs a tuple in a list; formatting (`access_record.py`) and logging happen in batches in a separate task.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._http.access_record import Record

logger = logging.getLogger("trio_uwsgi.access")

# Lines kept. Then the next response writes them all at once: a log slower than the server slows the server down,
# and neither fills the memory nor loses lines.
QUEUE = 4096
# Lines written between two checkpoints, so that a slow log delays other tasks by one batch only.
BATCH = 64


class AccessLog:
    """Records waiting to be written, at most `QUEUE`.

    Args:
        line: makes the line of a record; None for the usual one. Then the record itself is logged, and formatters of
            `logging` may use it.
        asked_only: leave out the records of requests that did not ask to be logged.
    """

    __slots__ = ("_asked_only", "_line", "_lot", "_records")

    def __init__(self, line: Callable[[Record], str] | None = None, *, asked_only: bool = False) -> None:
        self._line = line
        self._asked_only = asked_only
        self._records: list[Record] = []
        self._lot = trio.lowlevel.ParkingLot()

    @staticmethod
    def enabled() -> bool:
        """Is the log on? Checked once, when a worker starts."""
        return logger.isEnabledFor(logging.INFO)

    def add(self, record: Record) -> None:
        """Queue a record. Never waits, but writes the whole queue at once when it is full."""
        if self._asked_only and ((notes := record.request.log_notes) is None or not notes.asked):
            return
        self._records.append(record)
        if self._lot:
            self._lot.unpark()
        elif len(self._records) >= QUEUE:
            self.flush(QUEUE)

    def flush(self, count: int) -> None:
        """Write the oldest `count` records."""
        batch, self._records[:count] = self._records[:count], []
        for record in batch:
            logger.info("%s", record if self._line is None else self._line(record))

    def flush_all(self) -> None:
        """Write all records."""
        self.flush(len(self._records))

    async def serve(self) -> None:
        """Write records until cancelled, and then the rest."""
        try:
            while True:
                if not self._records:
                    await self._lot.park()
                await trio.lowlevel.checkpoint()
                self.flush(BATCH)
        finally:
            self.flush_all()
