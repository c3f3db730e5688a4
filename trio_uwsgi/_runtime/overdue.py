"""When what was told to end has neither ended nor let itself be cancelled.

A graceful stop cancels a level of the tree when its mercy is over. Code that waits under a shield of its own is not
ended by that, and Trio waits for it: a program that is the runtime's own need not (`forced_exit.py`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable

import trio

__all__ = ["LEEWAY", "noticing_overdue"]

# Seconds beyond the mercy, which what is cancelled may take.
LEEWAY = 1.0


@contextlib.asynccontextmanager
async def noticing_overdue(overdue: trio.Event) -> AsyncIterator[Callable[[float], None]]:
    """Give a function that says how many seconds of mercy the body has from now on; `overdue` is set if it is not over
    a little later.
    """
    async with trio.open_nursery() as watch:

        async def wait(mercy: float) -> None:
            await trio.sleep(mercy + LEEWAY)
            overdue.set()

        def begins(mercy: float) -> None:
            if mercy < math.inf:
                watch.start_soon(wait, mercy)

        yield begins
        watch.cancel_scope.cancel()
