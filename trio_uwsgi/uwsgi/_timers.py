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
    """A timer or cron that was added: cancel it, or ask when it is due.

    `signum` is the signal it raises. Made by `add_timer` and its siblings only.
    """

    __slots__ = ("_owner", "_timer", "signum")

    def __init__(self, timer: Timer, owner: Registry | MemberTimers) -> None:
        self._timer = timer
        self._owner = owner  # the registry it was declared in, or the timers of the member that added it
        self.signum = timer.signum

    def __repr__(self) -> str:
        return f"<TimerHandle of signal {self.signum}: {'cancelled' if self._timer.cancelled else self._timer.rule}>"

    def cancel(self) -> None:
        """Let it raise no more signals. What it raised already still runs. May be called again.

        Checkpoint: never. May be called from the runtime's threads.
        uWSGI: has no such call; a timer there lasts as long as the server.
        """
        on_trios_thread(lambda: self._owner.cancel(self._timer))

    @property
    def due(self) -> float | None:
        """Its next time: on Trio's clock (`trio.current_time()`) for timers, in POSIX seconds for crons.

        None when it is cancelled, has done all its iterations, or no runtime has armed it yet.
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

    The master keeps the phase: ticks are at whole multiples of the interval, without drift.
    The first tick comes one interval after this call, or after the runtime's start when declared before. Any number of
    timers may be added, also several for one signal. Ticks due at the same instant are raised in the order the timers
    were added.

    Args:
        signum: 0 to 255.
        seconds: the interval, a finite number above 0; fractions count.
        late: what becomes of a tick that is due while an earlier one has not been run: `"skip"` drops it, `"queue"`
            makes up for it afterwards (at most 10,000 of them).
        overlap: may two runs of this timer be under way in different members? If so, a tick is late only while an
            earlier one has not begun.
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
    """Raise a signal `iterations` times, each `seconds` after the one before was raised.

    Args:
        signum: 0 to 255.
        seconds: the interval, above 0.
        iterations: how often, 0 for ever. A tick that was skipped is not counted.
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

    It is raised at second 0 of each minute that matches, once, also where the clock changes: a job at a fixed time that
    the change to summer time jumps over runs right after the gap, and one that the change back repeats runs the first
    time only.

    Args:
        signum: 0 to 255.
        minute: 0 to 59; a negative value `-n` means every minute divisible by n, so -1 is every minute.
        hour: 0 to 23, or negative in the same way.
        day: day of the month, 1 to 31, or negative.
        month: 1 to 12, or negative.
        week: day of the week, 0 to 7, where 0 and 7 are Sunday, or negative. When neither it nor `day` is negative, one
            match is enough.
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
    """Decorate a function to run every `seconds`: a free signal, registered, with an `add_timer`.

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
    """Decorate a function to run `iterations` times: a free signal, registered, with an `add_rb_timer`.

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
    """Decorate a function to run at wall-clock times: a free signal, registered, with a cron.

    Args:
        when: the five integers of `add_cron`, or one crontab string such as `"0 3 * * 1"`.
        target: as in `signal_handler`.
        late: as in `add_timer`.
        overlap: as in `add_timer`.
    Raises:
        RegistrationError: as `signal_handler` and `add_cron`; or the string is no crontab line.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.cron`, which knows no strings.
    """
    return registering(current_registry().cron(*when, target=target, late=late, overlap=overlap))
