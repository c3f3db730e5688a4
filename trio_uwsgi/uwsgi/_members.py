"""The API of members and units: who runs this code, and for how long."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio

from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.uwsgi._base import as_number, current_unit, on_trios_thread

__all__ = ["harakiri", "mule_id", "set_user_harakiri", "worker_id"]


def worker_id() -> int:
    """The number of the worker that runs this code, from 1; 0 in a mule and outside.

    Checkpoint: never.
    uWSGI: `uwsgi.worker_id`.
    """
    return _number("worker")


def mule_id() -> int:
    """The number of the mule that runs this code, from 1; 0 in a worker and outside.

    Checkpoint: never.
    uWSGI: `uwsgi.mule_id`.
    """
    return _number("mule")


def _number(kind: str) -> int:
    unit = UNIT.get(None)
    return unit.member.number if unit is not None and unit.member.kind == kind else 0


def set_user_harakiri(seconds: float) -> None:
    """Give the current request, handler, message or program so many seconds more, counted from now, to end.

    When they have passed its cancel scope is cancelled: a request is answered 504, and the log says what was stuck
    where. The last call counts, and the limit ends with the unit of work. The limit of `Config` and those of `harakiri`
    blocks stay in force beside it.

    Args:
        seconds: 0 clears the limit; fractions count.
    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or NaN.
        NotServing: nothing is running that could be ended.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.set_user_harakiri`: whole seconds, one limit for all threads of a process, and the process is killed.
    """
    unit = current_unit("set_user_harakiri", "it limits a request, a handler or a mule's program, so call it in one")
    on_trios_thread(lambda: unit.limit(_deadline(seconds)))


def _deadline(seconds: float) -> float:
    if not as_number("a harakiri in seconds", seconds) >= 0:
        raise ValueError(f"a harakiri is 0 or more seconds, not {seconds!r}; 0 clears it")
    return trio.current_time() + seconds if seconds else math.inf


@contextlib.contextmanager
def harakiri(seconds: float) -> Iterator[None]:
    """Limit the body of a `with` block.

    When it takes longer, the whole unit of work is ended, as with `set_user_harakiri`.
    Leaving the block takes its limit away; the limits of other blocks and of `set_user_harakiri` stay in force beside
    it.

    Args:
        seconds: above 0; fractions count.
    Raises:
        TypeError: it is no number.
        ValueError: it is not above 0.
        NotServing: nothing is running that could be ended.
    Checkpoint: never by itself.
    uWSGI: `uwsgidecorators.harakiri`, which leaves the limit armed when its function raises.
    """
    unit = current_unit("harakiri", "it limits a request, a handler or a mule's program, so use it in one")
    if not as_number("a harakiri in seconds", seconds) > 0:
        raise ValueError(f"a harakiri is more than 0 seconds, not {seconds!r}")

    def enter() -> float:
        deadline = _deadline(seconds)
        unit.enter_block(deadline)
        return deadline

    deadline = on_trios_thread(enter)
    try:
        yield
    finally:
        on_trios_thread(lambda: unit.leave_block(deadline))
