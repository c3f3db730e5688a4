"""What a member in a process of its own shows to the master's watchdog.

It is written to shared memory (`scoreboard.py`), so that it can be read while the member is stuck. A member that is a
task
has none of this: its blocked loop is the master's.
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
    """The signs of life of one member, on its row of the board. For Trio's thread."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._deadlines: dict[Unit, float] = {}  # on Trio's clock

    def beat(self) -> None:
        """The loop runs."""
        self._row.set("heartbeat", time.monotonic())

    def begin_request(self, what: bytes) -> None:
        """Something begins that keeps the loop to itself until `rests`, or the next one."""
        self._row.mark(time.monotonic(), what)

    def end_request(self) -> None:
        """It is over."""
        self._row.write(b"")

    def set_deadline(self, unit: Unit, deadline: float) -> None:
        """Code of this unit wants to be over at `deadline`, on Trio's clock; `inf` is never. Forgotten at its end."""
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
