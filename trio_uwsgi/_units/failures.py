"""Separates failures of user code from exceptions that only pass through it.

Two kinds of exceptions pass through: Trio's Cancelled, if a scope around the unit is cancelled; and the
KeyboardInterrupt that Trio raises for a SIGINT. Everything else is a failure of the unit. `except Exception` is not
enough: asyncio's CancelledError, GeneratorExit, SystemExit and panics of extension modules are not subclasses of it.
"""

from __future__ import annotations

import math

import trio

from trio_uwsgi._units.journal import only_error

__all__ = ["is_interrupt", "split_failure"]


def split_failure(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Split what user code raised into its failure and the part that passes through; at least one is not None. Must be
    called on Trio's thread, in the task that ran the code, and inside of the scope that may have been cancelled.
    """
    if isinstance(error, BaseExceptionGroup):
        passing, failure = error.split(_passes)
        return (None if failure is None else only_error(failure)), passing
    return (None, error) if _passes(error) else (error, None)


def is_interrupt(error: BaseException) -> bool:
    """Is it the KeyboardInterrupt of a SIGINT? Trio's own code raises that, so its traceback ends in a frame of Trio;
    otherwise the application raised it.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "trio"


def _passes(error: BaseException) -> bool:
    if isinstance(error, trio.Cancelled):
        # A Cancelled that the code has kept and raised again later, when no scope is cancelled, is a failure.
        return trio.current_effective_deadline() == -math.inf
    return is_interrupt(error)
