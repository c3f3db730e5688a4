"""The API of members and their time limits: which worker or mule runs the calling code, and how long it may take."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio

from trio_uwsgi.uwsgi._base import as_number, on_trios_thread, running_unit, unit_here

__all__ = ["harakiri", "mule_id", "set_user_harakiri", "worker_id"]


def worker_id() -> int:
    """Return the number of the worker that runs the calling code, from 1; 0 elsewhere.

    Checkpoint: never.
    uWSGI: `uwsgi.worker_id`.
    """
    return _number("worker")


def mule_id() -> int:
    """Return the number of the mule that runs the calling code, from 1; 0 elsewhere.

    Checkpoint: never.
    uWSGI: `uwsgi.mule_id`.
    """
    return _number("mule")


def _number(kind: str) -> int:
    unit = unit_here()
    return unit.member.number if unit is not None and unit.member.kind == kind else 0


def set_user_harakiri(seconds: float) -> None:
    """Set a time limit (harakiri) for the current request, handler, message or program, counted from now.

    When the time is up, the runtime cancels the work: a request is answered with 504, and the log names the work and
    the line at which it was. A later call replaces the limit; the limit ends with the work. The limits of
    `Config.harakiri`, `Config.mule_harakiri`, `Config.spooler_harakiri` and of `harakiri` blocks apply as well.

    Args:
        seconds: the limit; 0 clears it; fractions count.
    Raises:
        TypeError: `seconds` is not a number.
        ValueError: `seconds` is negative, or NaN.
        NotServing: not called by a running member.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.set_user_harakiri`, which takes whole seconds, has one limit for all threads of a process, and kills
        the process.
    """
    unit = running_unit("set_user_harakiri", "it limits a request, a handler or a mule's program, so call it in one")
    on_trios_thread(lambda: unit.limit(_deadline(seconds)))


def _deadline(seconds: float) -> float:
    if not as_number("a time limit in seconds", seconds) >= 0:
        raise ValueError(f"a time limit (harakiri) is 0 or more seconds, not {seconds!r}; 0 clears it")
    return trio.current_time() + seconds if seconds else math.inf


@contextlib.contextmanager
def harakiri(seconds: float) -> Iterator[None]:
    """Set a time limit (harakiri) for the body of a `with` block.

    If the body takes longer, the runtime cancels the whole request, handler, message or program, as with
    `set_user_harakiri`. The limit ends with the block. The limits of `Config`, of other blocks and of
    `set_user_harakiri` apply as well.

    Args:
        seconds: the limit, above 0; fractions count.
    Raises:
        TypeError: `seconds` is not a number.
        ValueError: `seconds` is not above 0.
        NotServing: not called by a running member.
    Checkpoint: never by itself.
    uWSGI: `uwsgidecorators.harakiri`, a decorator, which leaves the limit armed if its function raises.
    Example:
        with uwsgi.harakiri(2.5):
            await trio.sleep(1)
    """
    unit = running_unit("harakiri", "it limits a request, a handler or a mule's program, so use it in one")
    if not as_number("a time limit in seconds", seconds) > 0:
        raise ValueError(f"a time limit (harakiri) is more than 0 seconds, not {seconds!r}")

    def enter() -> float:
        deadline = _deadline(seconds)
        unit.enter_block(deadline)
        return deadline

    deadline = on_trios_thread(enter)
    try:
        yield
    finally:
        on_trios_thread(lambda: unit.leave_block(deadline))
