"""The access log: one line per response.

A line costs little, because it is formatted here and given to the server's own handler, which writes those of a turn of
the event loop in one call (`_units/log_handler.py`). If the user has handlers, filters or a formatter, each line is a
record of `logging` instead. That is looked at with the first line of each turn, so they may come later.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trio_uwsgi._http.access_line import usual_line
from trio_uwsgi._http.access_record import Record, how_it_ended
from trio_uwsgi._units.log_handler import LineFormatter, LogHandler, direct_handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._http.exchange import Exchange

__all__ = ["AccessLog"]

logger = logging.getLogger("trio_uwsgi.access")

# Seconds after which lines are written in the middle of a turn, as applications may take long in it.
LONGEST = 0.1


class AccessLog:
    """The access log of one worker.

    Args:
        line: makes the line of a record, a whole one; None for the usual one. Then records of `logging` have the
            `Record` itself, and formatters may use it.
        asked_only: leave out the requests that did not ask to be logged.
    """

    __slots__ = ("_after", "_asked_only", "_before", "_began", "_handler", "_line", "_sample")

    def __init__(self, line: Callable[[Record], str] | None = None, *, asked_only: bool = False) -> None:
        self._line = line
        self._asked_only = asked_only
        self._handler: LogHandler | None = None  # if lines go there directly
        self._began = 0.0  # when the first line of the turn was added
        self._before = self._after = ""  # the message, in these lines
        self._sample = logger.makeRecord(logger.name, logging.INFO, "", 0, "", (), None)

    @staticmethod
    def enabled() -> bool:
        """Is the log on? Checked once, when a worker starts."""
        return logger.isEnabledFor(logging.INFO)

    def add(self, exchange: Exchange, now: float) -> None:
        """Log a response that was sent as the application gave it. `now` is the time on the clock of `started`."""
        sent = 0 if exchange.sent and exchange.response.bodyless else exchange.sent
        self._add(exchange, exchange.status, sent, "", now)

    def add_cut(self, exchange: Exchange, answer: bytes, now: float) -> None:
        """Log a request whose response is not, or not wholly, the application's; `answer` is sent instead."""
        status, sent, end = how_it_ended(exchange, answer)
        self._add(exchange, status, sent, end, now)

    def _add(self, exchange: Exchange, status: int, sent: int, end: str, now: float) -> None:
        request, peer, seconds = exchange.request, exchange.session.peer, now - exchange.started
        if self._asked_only and ((notes := request.log_notes) is None or not notes.asked):
            return
        handler = self._handler
        if handler is None or not handler.lines:
            handler = self._begin_turn(now)
        if handler is None or self._line is not None:
            self._add_record(Record(peer, request, status, sent, seconds, end))
        else:
            line = usual_line(peer, request, status, sent, seconds, end)
            handler.lines.append(f"{self._before}{line}{self._after}")
        if now > self._began + LONGEST and handler is not None:
            handler.write_lines()

    def _begin_turn(self, now: float) -> LogHandler | None:
        self._began = now
        self._handler = handler = direct_handler(logger, logging.INFO)
        if handler is not None and isinstance(handler.formatter, LineFormatter):
            self._before, self._after = handler.formatter.around(self._sample)
        return handler

    def _add_record(self, record: Record) -> None:
        if self._line is None:
            logger.info("%s", record)
        elif self._handler is None:
            logger.info("%s", self._line(record), extra={"whole_line": True})
        else:
            self._handler.lines.append(self._line(record))

    def write(self) -> bool:
        """Write the lines of this turn. Never waits. False: the log takes the rest later."""
        handler = self._handler
        return handler is None or handler.write_lines()

    @property
    def has_lines(self) -> bool:
        """Are there lines of this turn?"""
        return self._handler is not None and bool(self._handler.lines)

    def descriptor(self) -> int:
        """Of the log, if it takes more lines later."""
        assert self._handler is not None
        return self._handler.stream.fileno()
