"""Logs what a slow start is waiting for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._runtime.slots import SlotState

if TYPE_CHECKING:
    from trio_uwsgi._runtime.dispatcher import Dispatcher

__all__ = ["log_slow_start", "starting_members"]

logger = logging.getLogger("trio_uwsgi")

# Seconds until the first line. Each later line comes after twice the time of the one before.
_FIRST = 10.0


async def log_slow_start(awaited: Callable[[], str], ready: trio.Event) -> None:
    """Log what is awaited, at growing intervals, until `ready` is set: nothing limits how long the application's own
    code takes to start, so a start that hangs would be silent.
    """
    began = trio.current_time()
    due = began + _FIRST
    while not ready.is_set():
        with trio.move_on_at(due):
            await ready.wait()
            return
        logger.warning("still waiting for %s after %.0f s", awaited(), due - began)
        due += due - began


def starting_members(dispatcher: Dispatcher) -> str:
    """The members that do not serve yet."""
    slots = [slot.name for slot in dispatcher.slots() if slot.state not in (SlotState.READY, SlotState.VACANT)]
    return f"{', '.join(slots)} to start (import, lifespan, post_fork)"
