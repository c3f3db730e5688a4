"""The declarations in force: those of the application, and those that members make while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from trio_uwsgi._link.frames import AddFileMonitor, AddTimer, CancelTimer, Frame, Register
from trio_uwsgi._runtime.declarations import stand_in
from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi._signals.file_monitors import FileMonitors
from trio_uwsgi._signals.timer import Timer
from trio_uwsgi._signals.timer_specs import rule_from_values

if TYPE_CHECKING:
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._signals.ticker import Ticker

__all__ = ["Declarations"]

RaiseDue = Callable[[int, str, Callable[[], None], Callable[[bool], None]], None]


class Declarations:
    """The declarations of the code that members run.

    Args:
        registry: what the application declared when it was imported.
        ticker: arms the timers.
        raise_due: raises the signal of a timer or a file monitor: its number, which of the two, and what to call when
            a run has begun and when it has ended. It must not raise.

    `monitors` are the file monitors.
    """

    def __init__(self, registry: Registry, ticker: Ticker, raise_due: RaiseDue) -> None:
        self.registry = registry
        self._ticker = ticker
        self.monitors = FileMonitors()
        ticker.raise_tick = lambda timer: raise_due(
            timer.signum, "timer", partial(ticker.begun, timer), partial(ticker.ended, timer)
        )
        self.monitors.raise_change = lambda monitor: raise_due(
            monitor.signum, "file monitor", monitor.begun, partial(self.monitors.ended, monitor)
        )
        # The schedule keeps a timer alive as long as it has ticks to come.
        self._timers: WeakValueDictionary[tuple[str, int], Timer] = WeakValueDictionary()

    def arm(self, declared: Timer | FileMonitor) -> None:
        """Start a timer or a file monitor."""
        if isinstance(declared, Timer):
            self._ticker.add(declared)
        else:
            self.monitors.add(declared)

    def obey(self, instance: MemberInstance, frame: Frame) -> None:
        """Add what a member declared while it runs: from when it holds its slot until newer code is adopted."""
        if instance.outdated:
            return
        if not instance.holds_slot:
            instance.held.append(frame)
            return
        match frame:
            case AddTimer(ident, signum, rule, late, overlap):
                timer = Timer(signum, rule_from_values(rule), late=late, overlap=overlap)
                self._timers[instance.name, ident] = timer
                self._ticker.add(timer)
            case CancelTimer(ident):
                if (known := self._timers.pop((instance.name, ident), None)) is not None:
                    self._ticker.cancel(known)
            case AddFileMonitor(signum, path):
                self.monitors.add(FileMonitor(signum, path))
            case Register(signum, target):
                self.registry.register_signal(signum, target, stand_in)

    def adopt(self, registry: Registry, headcount: Headcount, instances: Iterable[MemberInstance]) -> None:
        """Replace all declarations by those of newer code, also those that the members of the former code made.

        The former timers are cancelled, the new ones armed. A file monitor that both have goes on.

        Raises:
            RegistrationError: they do not fit the members; nothing has changed.
        """
        registry._open(headcount, self.arm, self._ticker.cancel)
        former, self.registry = self.registry, registry
        for timer in (*former.timers, *self._timers.values()):
            self._ticker.cancel(timer)
        self._timers.clear()
        self.monitors.keep(registry.file_monitors)
        former._close()
        for instance in instances:
            instance.outdated = instance.holds_slot or instance.drained
