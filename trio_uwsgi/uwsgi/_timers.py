"""The API of timers and crons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._signals.handlers import Registering, check_signum
from trio_uwsgi._signals.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi._signals.timer_specs import cron_spec
from trio_uwsgi.uwsgi._base import (
    as_number,
    current_registry,
    on_trios_thread,
    registering,
    unit_here,
)

if TYPE_CHECKING:
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.ticker import MemberTimers

__all__ = ["TimerHandle", "add_cron", "add_ms_timer", "add_rb_timer", "add_timer", "cron", "rbtimer", "timer"]


class TimerHandle:
    """A timer or cron that was added, to cancel it or to ask when it is due.

    `add_timer`, `add_ms_timer`, `add_rb_timer` and `add_cron` return handles.

    Attributes:
        signum: the number of the signal that the timer raises.
    """

    __slots__ = ("_owner", "_timer", "signum")

    def __init__(self, timer: Timer, owner: Registry | MemberTimers) -> None:
        self._timer = timer
        self._owner = owner  # the registry it was declared in, or the timers of the member that added it
        self.signum = timer.signum

    def __repr__(self) -> str:
        return f"<TimerHandle of signal {self.signum}: {'cancelled' if self._timer.cancelled else self._timer.rule}>"

    def cancel(self) -> None:
        """Stop the timer. Handlers of signals that it has raised already still run.

        Cancelling a second time has no effect.

        Checkpoint: never. May be called from the runtime's threads.
        uWSGI: no counterpart; a timer there lasts as long as the server.
        """
        on_trios_thread(lambda: self._owner.cancel(self._timer))

    @property
    def due(self) -> float | None:
        """The time of the next tick, on Trio's clock (`trio.current_time()`) for timers, in POSIX seconds for crons.

        It is None if the timer is cancelled or has done all its iterations, or if the runtime has not started yet.
        """
        return on_trios_thread(lambda: self._owner.due(self._timer))


def _add(signum: int, rule: Rule, late: str, overlap: bool) -> TimerHandle:
    check_signum(signum)
    timer = Timer(signum, rule, late=late, overlap=overlap)
    unit = unit_here()
    if unit is None or unit.member.importing:
        registry = current_registry()
        return TimerHandle(registry._declare(timer), registry)
    timers = unit.member.timers
    on_trios_thread(lambda: timers.add(timer))
    return TimerHandle(timer, timers)


def add_timer(signum: int, seconds: float, *, late: str = "skip", overlap: bool = False) -> TimerHandle:
    """Raise a signal every `seconds`, for ever.

    The first tick comes one interval after this call, or one interval after the start of the runtime if the timer was
    declared before. All later ticks follow at whole multiples of the interval, without drift. Any number of timers may
    be added, and several may raise the same signal. Ticks that are due at the same instant are raised in the order in
    which the timers were added.

    Args:
        signum: 0 to 255.
        seconds: the interval, a finite number above 0; fractions count.
        late: what happens to a late tick. A tick is late if it is due before the handler has finished an earlier one.
            `"skip"` drops it; `"queue"` runs it afterwards (at most 10,000 wait).
        overlap: whether two members may run the handler for this timer at the same time. With True, a tick is late only
            if the handler has not begun with an earlier one.
    Returns:
        A handle with `cancel()` and `due`.
    Raises:
        RegistrationError: the signal, the interval or `late` is not valid.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_timer`, which takes whole seconds and at most 64 timers, and returns no handle. It behaves like
        `late="queue", overlap=True`.
    Example:
        handle = uwsgi.add_timer(17, 0.5)
        handle.cancel()
    """
    return _add(signum, Every(seconds), late, overlap)


def add_ms_timer(signum: int, milliseconds: float, *, late: str = "skip", overlap: bool = False) -> TimerHandle:
    """`add_timer` with its interval in milliseconds.

    Args:
        signum: 0 to 255.
        milliseconds: the interval, above 0.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Returns:
        A handle with `cancel()` and `due`.
    Raises:
        RegistrationError: as `add_timer`.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_ms_timer`, which exists from uWSGI 2.1 on.
    """
    return _add(signum, Every(as_number("an interval in milliseconds", milliseconds) / 1000), late, overlap)


def add_rb_timer(
    signum: int, seconds: float, iterations: int = 0, *, late: str = "skip", overlap: bool = False
) -> TimerHandle:
    """Raise a signal `iterations` times, once every `seconds`.

    Args:
        signum: 0 to 255.
        seconds: the interval, above 0.
        iterations: the number of ticks, 0 for ever. A tick that was skipped does not count.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Returns:
        A handle with `cancel()` and `due`.
    Raises:
        RegistrationError: the signal, the interval or the iterations are not valid.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_rb_timer` (its timers are in a red-black tree, hence the name). It takes whole seconds and at most
        64 timers, drifts, and loops without a pause if the interval is 0.
    """
    return _add(signum, Again(seconds, iterations), late, overlap)


def add_cron(
    signum: int, minute: int, hour: int, day: int, month: int, week: int, *, late: str = "skip", overlap: bool = False
) -> TimerHandle:
    """Raise a signal at wall-clock minutes, in the zone of `Config.timezone`.

    The signal is raised once, at second 0 of each minute that matches. If the change to summer time skips a fixed time,
    the signal is raised right after the gap. If the change back repeats a fixed time, the signal is raised the first
    time only.

    Args:
        signum: 0 to 255.
        minute: 0 to 59; a negative value `-n` means every minute divisible by n, so -1 is every minute.
        hour: 0 to 23, or negative in the same way.
        day: day of the month, 1 to 31, or negative.
        month: 1 to 12, or negative.
        week: day of the week, 0 to 7, where 0 and 7 are Sunday, or negative. If neither `week` nor
            `day` is negative, a day matches when either of them does.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Returns:
        A handle with `cancel()` and `due`.
    Raises:
        RegistrationError: the signal is not valid, or no date can ever match.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_cron`, which fires in the middle of the current minute if that matches, and may skip a minute.
        It runs twice where the clocks go back, and accepts dates that do not exist.
    Example:
        uwsgi.add_cron(17, 0, 3, -1, -1, 1)  # Mondays at 3:00
    """
    return _add(signum, Cron(cron_spec(minute, hour, day, month, week)), late, overlap)


def timer(seconds: float, *, target: str = "", late: str = "skip", overlap: bool = False) -> Registering:
    """Decorate a function to run every `seconds`.

    This registers the function for a free signal (`signal_handler`) and adds a timer for that signal (`add_timer`).

    Args:
        seconds: as in `add_timer`.
        target: as in `signal_handler`.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `signal_handler` and `add_timer`.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.timer`, which takes whole seconds.
    Example:
        @uwsgi.timer(60, target="mule1")
        async def report(signum):
            print("another minute")
    """
    return registering(current_registry().timer(seconds, target=target, late=late, overlap=overlap))


def rbtimer(
    seconds: float, *, iterations: int = 0, target: str = "", late: str = "skip", overlap: bool = False
) -> Registering:
    """Decorate a function to run `iterations` times, once every `seconds`.

    This registers the function for a free signal (`signal_handler`) and adds a timer for that signal (`add_rb_timer`).

    Args:
        seconds: as in `add_rb_timer`.
        iterations: as in `add_rb_timer`.
        target: as in `signal_handler`.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `signal_handler` and `add_rb_timer`.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.rbtimer`, which cannot be given iterations.
    """
    return registering(
        current_registry().rbtimer(seconds, iterations=iterations, target=target, late=late, overlap=overlap)
    )


def cron(*when: int | str, target: str = "", late: str = "skip", overlap: bool = False) -> Registering:
    """Decorate a function to run at wall-clock times, in the zone of `Config.timezone`.

    This registers the function for a free signal (`signal_handler`) and adds a cron for that signal (`add_cron`).

    Args:
        when: the five integers of `add_cron`, or one crontab string such as `"0 3 * * 1"`.
        target: as in `signal_handler`.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `signal_handler` and `add_cron`; or the string is not a crontab line.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.cron`, which takes five integers only.
    Example:
        @uwsgi.cron("30 3 * * 1-5")
        async def nightly(signum):
            print("half past three on a working day")
    """
    return registering(current_registry().cron(*when, target=target, late=late, overlap=overlap))
