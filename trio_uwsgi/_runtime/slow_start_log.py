"""What a start that takes long waits for, in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._runtime.slots import SeatState

if TYPE_CHECKING:
    from trio_uwsgi._runtime.dispatcher import Roster

__all__ = ["say_what_is_awaited", "who_starts"]

logger = logging.getLogger("trio_uwsgi")

# Seconds until the first line. The next ones come when it has taken twice as long as at the one before.
_FIRST = 10.0


async def say_what_is_awaited(awaited: Callable[[], str], there: trio.Event) -> None:
    """Until it is there, say now and then what is waited for: nothing limits how long the application's own code takes
    to start, so a start that hangs would be silent.
    """
    began = trio.current_time()
    due = began + _FIRST
    while not there.is_set():
        with trio.move_on_at(due):
            await there.wait()
            return
        logger.warning("still waiting for %s, for %.0f s now", awaited(), due - began)
        due += due - began


def who_starts(roster: Roster) -> str:
    """Which members do not serve yet."""
    seats = [seat.name for seat in roster.seats() if seat.state not in (SeatState.READY, SeatState.VACANT)]
    return f"{', '.join(seats)} to start (import, lifespan, post_fork)"
