"""The API of timers and crons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._runtime.registry import Registry, check_signum
from trio_uwsgi._signals.handlers import Registering  # noqa: TC001  # for typing.get_type_hints
from trio_uwsgi._signals.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi._signals.timer_specs import cron_spec
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.uwsgi._base import as_number, current_registry, default_registry, on_trios_thread, registering

if TYPE_CHECKING:
    from trio_uwsgi._signals.ticker import MemberTimers

__all__ = ["TimerHandle", "add_cron", "add_ms_timer", "add_rb_timer", "add_timer", "cron", "rbtimer", "timer"]


class TimerHandle:
    """A timer or cron that was added, to cancel it or to ask when it is due.

    `signum` is the signal that it raises. Only `add_timer` and its siblings create handles.
    """

    __slots__ = ("_owner", "_timer", "signum")

    def __init__(self, timer: Timer, owner: Registry | MemberTimers) -> None:
        self._timer = timer
        self._owner = owner  # the registry it was declared in, or the timers of the member that added it
        self.signum = timer.signum

    def __repr__(self) -> str:
        return f"<TimerHandle of signal {self.signum}: {'cancelled' if self._timer.cancelled else self._timer.rule}>"

    def cancel(self) -> None:
        """Stop the timer. Signals that it has raised already still run. Cancelling again has no effect.

        Checkpoint: never. May be called from the runtime's threads.
        uWSGI: no counterpart; a timer there lasts as long as the server.
        """
        on_trios_thread(lambda: self._owner.cancel(self._timer))

    @property
    def due(self) -> float | None:
        """The time of the next tick: on Trio's clock (`trio.current_time()`) for timers, in POSIX seconds for crons.

        None if the timer is cancelled, has done all its iterations, or has not been armed by a runtime yet.
        """
        return on_trios_thread(lambda: self._owner.due(self._timer))


def _add(signum: int, rule: Rule, late: str, overlap: bool) -> TimerHandle:
    check_signum(signum)
    timer = Timer(signum, rule, late=late, overlap=overlap)
    unit = UNIT.get(None)
    if unit is None:
        registry = default_registry()
        return TimerHandle(registry._declare(timer), registry)
    timers = unit.member.timers
    on_trios_thread(lambda: timers.add(timer))
    return TimerHandle(timer, timers)


def add_timer(signum: int, seconds: float, *, late: str = "skip", overlap: bool = False) -> TimerHandle:
    """Raise a signal every `seconds`, for ever.

    The first tick comes one interval after this call, or after the start of the runtime if the timer was declared
    before. All others follow at whole multiples of the interval, without drift. Any number of timers may be added, also
    several for one signal. Ticks that are due at the same instant are raised in the order in which the timers were
    added.

    Args:
        signum: 0 to 255.
        seconds: the interval, a finite number above 0; fractions count.
        late: what happens to a tick that is late, that is, due before the run of an earlier tick has ended: `"skip"`
            drops it, `"queue"` runs it afterwards (at most 10,000 wait).
        overlap: whether two runs of this timer may take place at once, in different members. With True, a tick is late
            only if the run of an earlier tick has not begun.
    Returns:
        The handle: `cancel()`, `due`.
    Raises:
        RegistrationError: the signal, the interval or `late` is not valid.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_timer`: at most 64 of them, whole seconds; it behaves like `late="queue", overlap=True`.
    """
    return _add(signum, Every(seconds), late, overlap)


def add_ms_timer(signum: int, milliseconds: float, *, late: str = "skip", overlap: bool = False) -> TimerHandle:
    """`add_timer` with its interval in milliseconds.

    Args:
        signum: 0 to 255.
        milliseconds: the interval, above 0.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `add_timer`.
    Checkpoint: never.
    uWSGI: `uwsgi.add_ms_timer` of 2.1.
    """
    return _add(signum, Every(as_number("an interval in milliseconds", milliseconds) / 1000), late, overlap)


def add_rb_timer(
    signum: int, seconds: float, iterations: int = 0, *, late: str = "skip", overlap: bool = False
) -> TimerHandle:
    """Raise a signal `iterations` times, each time `seconds` after the time before.

    Args:
        signum: 0 to 255.
        seconds: the interval, above 0.
        iterations: the number of ticks, 0 for ever. A tick that was skipped does not count.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Returns:
        The handle: `cancel()`, `due`.
    Raises:
        RegistrationError: the signal, the interval or the iterations are not valid.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_rb_timer` (sorted in a red-black tree, hence the name): whole seconds, at most 64.
    """
    return _add(signum, Again(seconds, iterations), late, overlap)


def add_cron(
    signum: int, minute: int, hour: int, day: int, month: int, week: int, *, late: str = "skip", overlap: bool = False
) -> TimerHandle:
    """Raise a signal at wall-clock minutes, in the zone of `Config.timezone`.

    It is raised once, at second 0 of each minute that matches. A fixed time that the change to summer time skips is
    raised right after the gap; a fixed time that the change back repeats is raised the first time only.

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
        The handle: `cancel()`, `due`.
    Raises:
        RegistrationError: the signal is not valid, or no date can ever match.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.add_cron`: fires in the middle of the current minute if that matches, may skip a minute, repeats the
        repeated hour.
    """
    return _add(signum, Cron(cron_spec(minute, hour, day, month, week)), late, overlap)


def timer(seconds: float, *, target: str = "", late: str = "skip", overlap: bool = False) -> Registering:
    """Decorate a function to run every `seconds`: registers it for a free signal, and adds a timer (`add_timer`).

    Args:
        seconds: as in `add_timer`.
        target: as in `signal_handler`.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `signal_handler` and `add_timer`.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.timer`.
    """
    return registering(current_registry().timer(seconds, target=target, late=late, overlap=overlap))


def rbtimer(
    seconds: float, *, iterations: int = 0, target: str = "", late: str = "skip", overlap: bool = False
) -> Registering:
    """Decorate a function to run `iterations` times: registers it for a free signal, and adds a timer (`add_rb_timer`).

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
    """Decorate a function to run at wall-clock times: registers it for a free signal, and adds a cron (`add_cron`).

    Args:
        when: the five integers of `add_cron`, or one crontab string such as `"0 3 * * 1"`.
        target: as in `signal_handler`.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `signal_handler` and `add_cron`; or the string is not a crontab line.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.cron`, which takes no strings.
    """
    return registering(current_registry().cron(*when, target=target, late=late, overlap=overlap))
