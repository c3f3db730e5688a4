"""Notices a graceful stop that neither ends nor can be cancelled.

A graceful stop cancels a level of the tree when its mercy is over. Code that waits in a shielded scope is not ended by
that, and Trio waits for it. A standalone server need not wait, and exits (`_process/forced_exit.py`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable

import trio

__all__ = ["LEEWAY", "noticing_overdue"]

# Seconds that cancelled code may take after the mercy.
LEEWAY = 1.0


@contextlib.asynccontextmanager
async def noticing_overdue(overdue: trio.Event) -> AsyncIterator[Callable[[float], None]]:
    """Yield a function to call with the seconds of mercy that the body has from now on. `overdue` is set if the body
    still runs a little after that.
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
