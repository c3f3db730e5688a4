"""A timer: the rules of its due times, and its entry with counters. Pure.

Data only. `schedule.py` arms timers, orders them and decides about each tick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_uwsgi.errors import RegistrationError

if TYPE_CHECKING:
    from trio_uwsgi.config.cron import Spec

__all__ = ["Again", "Cron", "Every", "Rule", "Timer"]

# A millisecond: the unit of add_ms_timer, and about the resolution of epoll. A shorter timer would only spin.
SHORTEST_INTERVAL = 0.001


@dataclass(frozen=True, slots=True)
class Every:
    """A timer that keeps its phase: due at its start plus whole multiples of `seconds`, however late a tick was.

    Args:
        seconds: interval, 0.001 or more; the first tick comes after one interval.
    Raises:
        RegistrationError: the interval is shorter or not finite. uWSGI accepts 0 and less; that timer never fires.
    """

    seconds: float

    def __post_init__(self) -> None:
        _check_interval(self.seconds)


@dataclass(frozen=True, slots=True)
class Again:
    """A timer that is armed again when it fires, so lateness adds up (uWSGI's rb_timer).

    Args:
        seconds: interval, 0.001 or more; the first tick comes after one interval.
        iterations: number of ticks, 0 for no end. A skipped tick does not count.
    Raises:
        RegistrationError: the interval is shorter or not finite, or `iterations` is negative. uWSGI accepts an interval
            of 0 or less: all iterations fire at once, and with an endless timer its master hangs.
    """

    seconds: float
    iterations: int = 0

    def __post_init__(self) -> None:
        _check_interval(self.seconds)
        if type(self.iterations) is not int or self.iterations < 0:
            raise RegistrationError(
                f"a timer cannot have {self.iterations!r} iterations; give a whole number above 0, or 0 for no end"
            )


@dataclass(frozen=True, slots=True)
class Cron:
    """A timer on the wall clock, due at second 0 of each local minute that `spec` matches."""

    spec: Spec


Rule = Every | Again | Cron


def _check_interval(seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not SHORTEST_INTERVAL <= seconds < math.inf:
        raise RegistrationError(
            f"a timer cannot have an interval of {seconds!r} s; give a finite number, {SHORTEST_INTERVAL} s or more"
        )


class Timer:
    """One timer or cron. Only the `Schedule` that armed it writes it; any code may read it.

    `signum`, `rule`, `late` and `overlap` are as given. `due` is the next due time: on Trio's clock, for a `Cron` in
    POSIX time; None if no tick is to come (not armed yet, `cancelled`, or all iterations done).

    Counters since it was armed: `raised` and `skipped` ticks. Current numbers: `held` ticks will be raised later,
    `waiting` ones were raised and have not begun to run, `running` ones have begun and not ended.

    Args:
        signum: the signal to raise, 0 to 255.
        rule: when it is due.
        late: what to do with a tick that cannot be raised in time. "skip": it is dropped and counted. "queue": it is
            raised later, for at most `QUEUE_LIMIT` ticks. uWSGI queues.
        overlap: may a run begin before an earlier one has ended? If so, "skip" drops a tick only while another one
            waits to begin, and "queue" raises each tick at once, as uWSGI does.
    Raises:
        RegistrationError: `late` is neither of the two.
    """

    __slots__ = (
        "__weakref__",
        "cancelled",
        "due",
        "held",
        "late",
        "order",
        "overlap",
        "raised",
        "rule",
        "running",
        "signum",
        "skipped",
        "start",
        "ticks",
        "waiting",
    )

    def __init__(self, signum: int, rule: Rule, *, late: str = "skip", overlap: bool = False) -> None:
        if late not in ("skip", "queue"):
            raise RegistrationError(f"late ticks cannot be treated as {late!r}; give late='skip' or late='queue'")
        self.signum = signum
        self.rule = rule
        self.late = late
        self.overlap = overlap
        self.cancelled = False
        self.due: float | None = None
        self.arm(0, 0.0)

    def arm(self, order: int, start: float) -> None:
        """Reset the counters. `order` is its place in a schedule (0: in none), `start` is on Trio's clock."""
        self.order = order
        self.start = start
        self.ticks = 0  # past due times of an Every: the next one is start + (ticks + 1) * seconds
        self.raised = self.skipped = 0
        self.held = self.waiting = self.running = 0

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else f"due={self.due}"
        return f"<Timer signal={self.signum} {self.rule} {state} raised={self.raised} skipped={self.skipped}>"
