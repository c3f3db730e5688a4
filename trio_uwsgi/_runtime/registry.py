"""What an application declared: signals, timers, file monitors, mule programs, message handlers, RPC functions. Pure.

Importing the application fills a registry. The default registry is behind `trio_uwsgi.uwsgi`; tests and embedders make
their own and pass it to `serve`. This module has the tables and their rules only: `dispatcher.py` decides which member
runs a handler, `_signals/schedule.py` when a timer is due, and `_units/calls.py` how a handler is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast, overload

from trio_uwsgi._nodes.rpc_functions import RpcFunction, check_rpc_name, rpc_function
from trio_uwsgi._signals.file_monitor import FileMonitor
from trio_uwsgi._signals.handlers import SIGNALS, Handler, Registering, Signal, SignalHandler, check_signum
from trio_uwsgi._signals.mule_functions import MessageHandler, MuleFunctions, Program, check_handler, name_of
from trio_uwsgi._signals.targets import Headcount, parse_target
from trio_uwsgi._signals.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi._signals.timer_specs import cron_spec
from trio_uwsgi._spool.functions import Encoding, Job, SpoolFunctions, check_spooler
from trio_uwsgi.errors import RegistrationError

__all__ = ["Registry"]

T = TypeVar("T")
U = TypeVar("U")
M = TypeVar("M", bound=MessageHandler)
P = TypeVar("P", bound=Program)
R = TypeVar("R", bound="Callable[..., object]")
F = TypeVar("F", bound="Callable[[], object]")
J = TypeVar("J", bound=Callable[[Job], object])
Arm = Callable[[Timer | FileMonitor], None]


class Registry:
    """The declarations of one application: its signal handlers, timers, crons, file monitors, mule programs,
    message handlers, RPC functions, job functions and hooks.

    Pass it to `serve` as `registry=`. Its methods do what the functions of the same names in `trio_uwsgi.uwsgi` do with
    the default registry. While a runtime serves the registry, targets and mule numbers are checked against the members
    at once, and registering a signal again replaces its handler. Before, registering a signal twice is an error.
    """

    def __init__(self) -> None:
        self.signals: dict[int, Signal] = {}
        self.timers: list[Timer] = []
        self.file_monitors: list[FileMonitor] = []
        self.mules = MuleFunctions()
        self.rpc: dict[str, RpcFunction] = {}
        self.spool = SpoolFunctions()
        self.post_fork_hooks: list[Callable[[], object]] = []
        self.atexit_hooks: list[Callable[[], object]] = []
        self.headcount: Headcount | None = None  # None while no runtime serves it
        self._arm: Arm = _ignore
        self._cancel: Callable[[Timer], None] = _cancel_unarmed
        self._registered: Callable[[Signal], None] = _ignore

    def __repr__(self) -> str:
        mules = self.mules
        return (
            f"<Registry: {len(self.signals)} signals, {len(self.timers)} timers, {len(mules.programs)} mule programs, "
            f"{len(mules.message_handlers)} message handlers, {len(mules.farms)} farms, {len(self.rpc)} RPC functions, "
            f"{len(self.spool)} job functions>"
        )

    # ----- for the runtime

    def _open(self, headcount: Headcount, arm: Arm, cancel: Callable[[Timer], None]) -> None:
        """A runtime begins to serve this registry; what was declared must fit its members.

        Args:
            headcount: the members of the runtime.
            arm: starts a timer or a file monitor; called for all that are declared now, and for later ones.
            cancel: cancels an armed timer.
        Raises:
            RegistrationError: a target or a mule program names a member that does not exist, or no member would run a
                function; or another runtime serves the registry.
        """
        if self.headcount is not None:
            raise RegistrationError(
                "this registry is being served by another runtime; give each runtime a Registry() of its own"
            )
        self._check(headcount)
        self.headcount = headcount
        self._arm = arm
        self._cancel = cancel
        for timer in self.timers:
            arm(timer)
        for monitor in self.file_monitors:
            arm(monitor)

    def _check(self, headcount: Headcount) -> None:
        """Refuse declarations that these members would never run.

        Raises:
            RegistrationError: something is declared for a member that does not exist.
        """
        for signal in self.signals.values():
            signal.target.check(headcount)
        self.mules.check(headcount)
        self.spool.check(headcount.spoolers)

    def _join(
        self,
        headcount: Headcount,
        registered: Callable[[Signal], None],
        arm: Arm,
        cancel: Callable[[Timer], None],
    ) -> None:
        """A member in its own process begins. The master serves what was declared up to now, so only later
        declarations are passed on.

        Args:
            headcount: the members of the runtime.
            registered: called with each signal that is registered from now on.
            arm: called with each timer and file monitor that is declared from now on.
            cancel: called with each timer that is cancelled.
        """
        self.headcount = headcount
        self._registered = registered
        self._arm = arm
        self._cancel = cancel

    def _close(self) -> None:
        """The runtime has ended. The declarations are kept and can be served again."""
        self.headcount = None
        self._arm = _ignore
        self._cancel = _cancel_unarmed
        self._registered = _ignore
        for timer in self.timers:
            timer.due = None

    # ----- signals

    def register_signal(self, signum: int, target: str, handler: Handler) -> Signal:
        """Register `handler` for `signum`; see `uwsgi.register_signal`."""
        check_signum(signum)
        parsed = parse_target(target)
        if not callable(handler):
            raise RegistrationError(
                f"the handler of signal {signum} must be callable with the signal's number, not {handler!r}"
            )
        if self.headcount is not None:
            parsed.check(self.headcount)
        elif (known := self.signals.get(signum)) is not None:
            raise RegistrationError(
                f"signal {signum} is registered already, for {name_of(known.handler)}; use another number, or "
                f"@signal_handler without a number to take a free one"
            )
        self.signals[signum] = signal = Signal(signum, parsed, handler)
        self._registered(signal)
        return signal

    def _free_signum(self) -> int:
        """The highest number that is not registered. (uWSGI takes the lowest, which collides with hand-written
        numbers.)

        Raises:
            RegistrationError: all 256 are taken.
        """
        for signum in reversed(range(SIGNALS)):
            if signum not in self.signals:
                return signum
        raise RegistrationError("all 256 signals are registered; let handlers share a number")

    @overload
    def signal_handler(self, signum: Callable[[int], T], /) -> SignalHandler[T]: ...
    @overload
    def signal_handler(self, signum: int | None = None, /, *, target: str = "") -> Registering: ...
    def signal_handler(
        self, signum: Callable[[int], T] | int | None = None, /, *, target: str = ""
    ) -> SignalHandler[T] | Registering:
        """Decorate a signal's handler; see `uwsgi.signal_handler`."""

        def register(handler: Callable[[int], U]) -> SignalHandler[U]:
            number = self._free_signum() if signum is None or callable(signum) else signum
            replaced = self.signals.get(number)
            self.register_signal(number, target, handler)
            try:
                handler.signum = number  # type: ignore[attr-defined]  # any callable may be a handler
            except (AttributeError, TypeError):  # bound methods, objects with slots; built-in classes
                del self.signals[number]
                if replaced is not None:
                    self.signals[number] = replaced
                raise RegistrationError(
                    f"@signal_handler cannot set the attribute `signum` of {handler!r}; "
                    f"use register_signal({number}, {target!r}, ...)"
                ) from None
            return cast("SignalHandler[U]", handler)

        return register(signum) if callable(signum) else register

    # ----- timers: the methods return a `Timer`, which is armed when a runtime starts

    def _declare(self, timer: Timer) -> Timer:
        """Add a timer or cron. It is armed in each runtime that serves this registry; at once if one does now."""
        self._arm(timer)
        self.timers.append(timer)
        return timer

    def add_timer(self, signum: int, seconds: float, *, late: str = "skip", overlap: bool = False) -> Timer:
        """Declare a timer; see `uwsgi.add_timer`. Pass the result to `cancel` or `due`."""
        check_signum(signum)
        return self._declare(Timer(signum, Every(seconds), late=late, overlap=overlap))

    def add_rb_timer(
        self, signum: int, seconds: float, iterations: int = 0, *, late: str = "skip", overlap: bool = False
    ) -> Timer:
        """Declare a timer that ends; see `uwsgi.add_rb_timer`. Pass the result to `cancel` or `due`."""
        check_signum(signum)
        return self._declare(Timer(signum, Again(seconds, iterations), late=late, overlap=overlap))

    def add_cron(self, signum: int, *when: int | str, late: str = "skip", overlap: bool = False) -> Timer:
        """Declare a cron; see `uwsgi.cron` for `when`. Pass the result to `cancel` or `due`."""
        check_signum(signum)
        return self._declare(Timer(signum, Cron(cron_spec(*when)), late=late, overlap=overlap))

    def cancel(self, timer: Timer) -> None:
        """Stop a declared timer, in this runtime and in later ones. A second call has no effect."""
        self._cancel(timer)

    def due(self, timer: Timer) -> float | None:
        """Return the time of the next tick of a declared timer; see `TimerHandle.due`."""
        return timer.due

    def timer(self, seconds: float, *, target: str = "", late: str = "skip", overlap: bool = False) -> Registering:
        """Decorate a handler to run every `seconds`; see `uwsgi.timer`."""
        return self._timed(Every(seconds), target, late, overlap)

    def rbtimer(
        self, seconds: float, *, iterations: int = 0, target: str = "", late: str = "skip", overlap: bool = False
    ) -> Registering:
        """Decorate a handler to run `iterations` times; see `uwsgi.rbtimer`."""
        return self._timed(Again(seconds, iterations), target, late, overlap)

    def cron(self, *when: int | str, target: str = "", late: str = "skip", overlap: bool = False) -> Registering:
        """Decorate a handler to run at wall-clock times; see `uwsgi.cron`."""
        return self._timed(Cron(cron_spec(*when)), target, late, overlap)

    def _timed(self, rule: Rule, target: str, late: str, overlap: bool) -> Registering:
        def register(handler: Callable[[int], T]) -> SignalHandler[T]:
            signum = self._free_signum()
            timer = Timer(signum, rule, late=late, overlap=overlap)
            registered = self.signal_handler(signum, target=target)(handler)
            self._declare(timer)
            return registered

        return register

    def add_file_monitor(self, signum: int, path: str) -> None:
        """Declare a file monitor; see `uwsgi.add_file_monitor`. A relative path is one of where the runtime starts."""
        check_signum(signum)
        monitor = FileMonitor(signum, path)
        self._arm(monitor)
        self.file_monitors.append(monitor)

    def filemon(self, path: str, *, target: str = "") -> Registering:
        """Decorate a handler to run when a file changes; see `uwsgi.filemon`."""

        def register(handler: Callable[[int], T]) -> SignalHandler[T]:
            signum = self._free_signum()
            FileMonitor(signum, path)  # refused before anything is registered
            registered = self.signal_handler(signum, target=target)(handler)
            self.add_file_monitor(signum, path)
            return registered

        return register

    # ----- mules

    def mule(self, number: int) -> Callable[[P], P]:
        """Decorate the program of mule `number`; see `uwsgi.mule`."""
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise RegistrationError(f"{number!r} is not a mule's number; these start from 1: write @mule(1)")

        def register(program: P) -> P:
            self._check_not_serving("mules have started already; declare their programs before serving")
            self.mules.declare_program(number, program)
            return program

        return register

    def farm(self, name: str) -> Callable[[M], M]:
        """Decorate the function for a farm's messages; see `uwsgi.farm`."""
        if not isinstance(name, str):
            raise RegistrationError(f"a farm's name is a str, not {name!r}; write @farm('images')")

        def register(function: M) -> M:
            self._check_not_serving("mules have started already; declare the functions of farms before serving")
            self.mules.declare_farm(name, function)
            return function

        return register

    def _check_not_serving(self, refusal: str) -> None:
        if self.headcount is not None:
            raise RegistrationError(refusal)

    def mule_message_handler(self, handler: M) -> M:
        """Decorate a handler of mule messages; see `uwsgi.mule_message_handler`."""
        if self.headcount is not None and callable(handler):
            check_handler(handler, self.headcount)
        self.mules.declare_handler(handler)
        return handler

    # ----- members

    def post_fork(self, func: F) -> F:
        """Decorate a function that every member calls when it starts; see `uwsgi.post_fork`."""
        return self._hook(self.post_fork_hooks, "a post_fork hook", func)

    def atexit(self, func: F) -> F:
        """Decorate a function that every member calls when it ends; see `uwsgi.atexit`."""
        return self._hook(self.atexit_hooks, "an atexit hook", func)

    def _hook(self, hooks: list[Callable[[], object]], name: str, func: F) -> F:
        self._check_not_serving(f"members have begun already; declare {name} before serving")
        if not callable(func):
            raise RegistrationError(f"{name} must be callable without arguments, not {func!r}")
        hooks.append(func)
        return func

    # ----- remote procedure calls

    def register_rpc(self, name: str, func: Callable[..., object], argc: int = 0) -> None:
        """Register a function for remote procedure calls; see `uwsgi.register_rpc`."""
        function = rpc_function(name, func, argc)
        known = self.rpc.get(name)
        if known is not None and self.headcount is None:
            raise RegistrationError(
                f"RPC function {name!r} is registered already, as {name_of(known.func)}; use another name"
            )
        self.rpc[name] = function

    def rpc_handler(self, name: str, argc: int = 0) -> Callable[[R], R]:
        """Decorate a function for remote procedure calls; see `uwsgi.rpc_handler`."""
        check_rpc_name(name)

        def register(func: R) -> R:
            self.register_rpc(name, func, argc)
            return func

        return register

    # ----- jobs

    @overload
    def spool_handler(self, func: R, /) -> R: ...
    @overload
    def spool_handler(
        self,
        func: None = None,
        /,
        *,
        name: str | None = None,
        pass_arguments: bool = False,
        pickle: bool = False,
        max_tries: int | None = None,
    ) -> Callable[[R], R]: ...
    def spool_handler(
        self,
        func: R | None = None,
        /,
        *,
        name: str | None = None,
        pass_arguments: bool = False,
        pickle: bool = False,
        max_tries: int | None = None,
    ) -> R | Callable[[R], R]:
        """Decorate a function for jobs; see `uwsgi.spool_handler`."""
        if pickle and not pass_arguments:
            raise RegistrationError("pickle=True says how arguments are passed; add pass_arguments=True")
        encoding: Encoding = ("pickle" if pickle else "json") if pass_arguments else "vars"

        def register(func: R) -> R:
            self._check_spooler("@spool_handler")
            self.spool.declare(func, name=name, encoding=encoding, max_tries=max_tries)
            return func

        return register if func is None else register(func)

    def spooler(self, func: J) -> J:
        """Decorate the function for all other jobs; see `uwsgi.spooler`."""
        self._check_spooler("@spooler")
        self.spool.declare_catch_all(func)
        return func

    def _check_spooler(self, what: str) -> None:
        if self.headcount is not None:
            check_spooler(what, self.headcount.spoolers)


def _ignore(declared: Timer | FileMonitor | Signal) -> None:
    """While no runtime serves the registry."""


def _cancel_unarmed(timer: Timer) -> None:
    timer.cancelled = True
