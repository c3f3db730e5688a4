"""What user code raised: its own failure, or something that only passes through it.

Two things pass: Trio's Cancelled, where a scope around the unit is cancelled; and the KeyboardInterrupt that Trio makes
of a SIGINT. All else is a failure of its unit, whatever its class. `except Exception` would not do: asyncio's
CancelledError, GeneratorExit, SystemExit and the panics of extension modules are not of it, and views let them out.
"""

from __future__ import annotations

import math

import trio

from trio_uwsgi._units.journal import only_error

__all__ = ["is_interrupt", "split_failure"]


def split_failure(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """The failure in what user code raised, and what passes; at least one of them is there. On Trio's thread, in the
    task that ran the code, and under the scope that may have been cancelled.
    """
    if isinstance(error, BaseExceptionGroup):
        passing, failure = error.split(_passes)
        return (None if failure is None else only_error(failure)), passing
    return (None, error) if _passes(error) else (error, None)


def is_interrupt(error: BaseException) -> bool:
    """Is it the KeyboardInterrupt of a SIGINT? Trio's own code raises that one; one without such a frame at its end
    was raised by the application.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "trio"


def _passes(error: BaseException) -> bool:
    if isinstance(error, trio.Cancelled):
        # One that was caught, kept, and raised again later belongs to nobody any more.
        return trio.current_effective_deadline() == -math.inf
    return is_interrupt(error)
