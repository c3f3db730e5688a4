"""The heartbeat of a member process, which the master's watchdog reads.

It is written to shared memory (`_link/scoreboard.py`), so that it can be read while the member is blocked. Members that
are tasks have none: their event loop is the master's.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Row
    from trio_uwsgi._units.unit import Unit

__all__ = ["Heartbeat"]


class Heartbeat:
    """Writes the heartbeat of one member to its row of the scoreboard. For Trio's thread."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._deadlines: dict[Unit, float] = {}  # on Trio's clock

    def beat(self) -> None:
        """The event loop runs."""
        self._row.set("heartbeat", time.monotonic())

    @property
    def is_stopping(self) -> bool:
        """Was this member asked to stop, or the runtime? True before the event loop, which may be blocked, reads it."""
        return self._row.get("stopping") != 0

    def begin_request(self, what: bytes = b"") -> None:
        """A request begins that blocks the event loop until `end_request` or the next request."""
        self._row.begin(time.monotonic())
        if what:
            self._row.write(what)

    def end_request(self) -> None:
        """The request has ended."""
        self._row.set("running", 0)
        self._row.write(b"")

    def set_signal(self, signum: int | None) -> None:
        """The handler of this signal runs; None: none does."""
        self._row.set("signal", 0 if signum is None else signum + 1)

    def set_deadline(self, unit: Unit, deadline: float) -> None:
        """Set the deadline of this unit, on Trio's clock; `inf` removes it. Removed when the unit ends."""
        if unit not in self._deadlines and deadline != math.inf:
            unit.at_end(partial(self._show, unit, math.inf))
        self._show(unit, deadline)

    def _show(self, unit: Unit, deadline: float) -> None:
        if deadline == math.inf:
            self._deadlines.pop(unit, None)
        else:
            self._deadlines[unit] = deadline
        first = min(self._deadlines.values(), default=math.inf)
        self._row.set("deadline", 0 if first == math.inf else time.monotonic() + first - trio.current_time())
