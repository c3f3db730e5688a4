"""The uWSGI API for Trio code. Floor 4.

    from trio_uwsgi import uwsgi

    @uwsgi.signal_handler(17, target="mule1")
    async def refresh(signum: int) -> None: ...

    uwsgi.add_timer(17, 60)

Names, argument order and constants are uWSGI's. What may wait is `async`; what never waits is plain, and may also be
called from the threads that run `def` handlers and WSGI applications. Declarations (handlers, timers, crons, mules)
made while no member runs go to the default registry, which `serve` uses when it is given no other; a
`trio_uwsgi.Registry` of your own has the same decorators.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, overload

import trio

from trio_uwsgi._core.registry import Registry, check_signum, cron_spec
from trio_uwsgi._core.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi._runtime.master import as_message
from trio_uwsgi._tasks.unit import UNIT, Unit
from trio_uwsgi._wire.frames import Post, Raise
from trio_uwsgi.errors import MuleError, NotServing

if TYPE_CHECKING:
    from trio_uwsgi._tasks.sources import MemberTimers

__all__ = [
    "TimerHandle",
    "add_cron",
    "add_ms_timer",
    "add_rb_timer",
    "add_timer",
    "cron",
    "harakiri",
    "mule",
    "mule_get_msg",
    "mule_id",
    "mule_message_handler",
    "mule_msg",
    "rbtimer",
    "register_signal",
    "registry",
    "set_user_harakiri",
    "signal",
    "signal_handler",
    "signal_received",
    "signal_registered",
    "signal_wait",
    "timer",
    "worker_id",
]

H = TypeVar("H", bound=Callable[[int], object])
M = TypeVar("M", bound=Callable[[bytes], object])
P = TypeVar("P", bound=Callable[[], object])
T = TypeVar("T")

registry = Registry()
"""The default registry: what is declared through this module while no member runs."""

_received: ContextVar[int] = ContextVar("trio_uwsgi_signal_received", default=0)


def _registry() -> Registry:
    unit = UNIT.get(None)
    return registry if unit is None else unit.member.registry


def _unit(call: str, remedy: str) -> Unit:
    unit = UNIT.get(None)
    if unit is None:
        raise NotServing(f"uwsgi.{call}()", remedy)
    return unit


def _on_trios_thread(func: Callable[[], T]) -> T:
    """Members belong to Trio's thread; a call from one of their threads goes there and back. Without a member there is
    no other thread.
    """
    if trio.lowlevel.in_trio_run() or UNIT.get(None) is None:
        return func()
    return trio.from_thread.run_sync(func)


def _declaring(decorator: Callable[[T], T]) -> Callable[[T], T]:
    """The registry's decorator, for any of the runtime's threads."""
    return lambda declared: _on_trios_thread(lambda: decorator(declared))


# ----- signals


@overload
def signal_handler(signum: H, /) -> H: ...
@overload
def signal_handler(signum: int | None = None, /, *, target: str = "") -> Callable[[H], H]: ...
def signal_handler(signum: H | int | None = None, /, *, target: str = "") -> H | Callable[[H], H]:
    """Decorate a function to run when a uwsgi signal is raised.

    The member that the target names runs it, one signal at a time in the order they were raised; an `async def` as a
    task, a `def` in a thread. Its harakiri is the member's (`harakiri` in workers, `mule_harakiri` in mules).

    Args:
        signum: 0 to 255. Left out (also as a bare `@signal_handler`), the highest free number is taken. Either way it
            can be read as `handler.signum` afterwards.
        target: who runs it: `""` or `"worker"` (any worker, the least busy), `"workers"` (all), `"active-workers"` (all
            that are ready), `"worker2"`, `"mule"`, `"mules"`, `"mule1"`.
    Returns:
        The function itself, so decorators stack.
    Raises:
        RegistrationError: the number is no signal or is taken, all are taken, or the target cannot exist; says what is
            valid.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.signal`, where the number is not optional and a wrong target is found out when a signal is
        lost.
    """
    if signum is None or isinstance(signum, int):
        return _declaring(_registry().signal_handler(signum, target=target))
    return _declaring(_registry().signal_handler)(signum)


def register_signal(signum: int, kind: str, handler: Callable[[int], object]) -> None:
    """Register a signal's handler; the decorator `signal_handler` is the shorter way.

    Args:
        signum: 0 to 255.
        kind: the target, as in `signal_handler`.
        handler: called with the number; `async def` or `def`. What it returns is ignored.
    Raises:
        RegistrationError: as `signal_handler`. In a running member a number that is taken is not an error: its handler
            is replaced.
    Checkpoint: never.
    uWSGI: `uwsgi.register_signal`. There a registration inside a worker is that worker's only; here it is the
        runtime's.
    """
    _registry().register_signal(signum, kind, handler)


def signal(signum: int) -> None:
    """Raise a uwsgi signal: the master routes it to the members of its target.

    When this returns, the signal waits in the queue of each recipient and will be run, unless the runtime stops before.
    A number that nothing is registered for is logged with who raised it, and otherwise ignored.

    Args:
        signum: 0 to 255.
    Raises:
        RegistrationError: `signum` is not 0 to 255 (uWSGI takes it modulo 256).
        SignalQueueFull: a recipient has `Config.signal_queue` signals waiting; nobody was given this one.
        NotServing: not called by a running worker or mule; use `Runtime.signal` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.signal`, which drops what does not fit into a socket buffer and says nothing to its caller.
    """
    check_signum(signum)
    member = _unit("signal", "from other code use the signal() of the Runtime that serve() starts").member
    _on_trios_thread(lambda: member.link.send(Raise(signum)))


def signal_registered(signum: int) -> bool:
    """Is a handler registered for this signal?

    Args:
        signum: 0 to 255.
    Raises:
        RegistrationError: `signum` is not 0 to 255.
    Checkpoint: never.
    uWSGI: `uwsgi.signal_registered`, which answers True or None.
    """
    check_signum(signum)
    return signum in _registry().signals


async def signal_wait(signum: int | None = None) -> int:
    """Wait until this member has run the handler of a signal.

    Args:
        signum: the signal to wait for; None for any.
    Returns:
        The number of the signal, which `signal_received` gives too.
    Raises:
        RegistrationError: `signum` is not 0 to 255.
        NotServing: not called by a running member.
        RuntimeError: called by a signal handler, whose member runs no other signal before it returns.
    Checkpoint: always.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.signal_wait`, which runs the handlers itself and returns b"".
    """
    if signum is not None:
        check_signum(signum)
    unit = _unit("signal_wait", "call it in a request, a message handler or a mule's program")
    if unit.kind == "signal":
        raise RuntimeError(
            "a signal handler cannot wait for a signal: its member runs them one at a time; wait in a mule's program"
        )
    number = await unit.member.inbox.wait_signal(signum)
    _received.set(number)
    return number


def signal_received() -> int:
    """The number that the last `signal_wait` of this task returned; 0 before any.

    Checkpoint: never.
    uWSGI: `uwsgi.signal_received`.
    """
    return _received.get()


# ----- timers and crons


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
        _on_trios_thread(lambda: self._owner.cancel(self._timer))

    @property
    def due(self) -> float | None:
        """Its next time: on Trio's clock (`trio.current_time()`) for timers, in POSIX seconds for crons.

        None when it is cancelled, has done all its iterations, or no runtime has armed it yet.
        """
        return _on_trios_thread(lambda: self._owner.due(self._timer))


def _add(signum: int, rule: Rule, late: str, overlap: bool) -> TimerHandle:
    check_signum(signum)
    timer = Timer(signum, rule, late=late, overlap=overlap)
    unit = UNIT.get(None)
    if unit is None:
        return TimerHandle(registry.declare(timer), registry)
    timers = unit.member.timers
    _on_trios_thread(lambda: timers.add(timer))
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
    return _add(signum, Every(milliseconds / 1000), late, overlap)


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


def timer(seconds: float, *, target: str = "", late: str = "skip", overlap: bool = False) -> Callable[[H], H]:
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
    return _declaring(_registry().timer(seconds, target=target, late=late, overlap=overlap))


def rbtimer(
    seconds: float, *, iterations: int = 0, target: str = "", late: str = "skip", overlap: bool = False
) -> Callable[[H], H]:
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
    return _declaring(_registry().rbtimer(seconds, iterations=iterations, target=target, late=late, overlap=overlap))


def cron(*when: int | str, target: str = "", late: str = "skip", overlap: bool = False) -> Callable[[H], H]:
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
    return _declaring(_registry().cron(*when, target=target, late=late, overlap=overlap))


# ----- mules


def mule(number: int) -> Callable[[P], P]:
    """Decorate a function to be a mule's program: it is started with the mule and owned by its nursery.

    A program that raises is started again after 1, 2, 4, ... 60 seconds; one that returns leaves the mule without a
    program. Signals and messages reach the mule while its program runs. A graceful stop cancels it.

    Args:
        number: which mule, 1 to `Config.mules`.
    Raises:
        RegistrationError: there is no such mule, it has a program already, or the mules run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.mule`, whose mule is deaf to signals and messages, and is respawned without a pause.
    """
    return _registry().mule(number)


def mule_message_handler(handler: M) -> M:
    """Decorate a function to handle mule messages, in every mule whose program does not read them itself.

    Messages are handled one at a time in the order they were sent, by each handler in the order of declaration.

    Args:
        handler: called with the message as bytes; `async def`, or `def` in a thread.
    Raises:
        RegistrationError: it is not callable.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.mule_msg_hook`.
    """
    return _registry().mule_message_handler(handler)


def mule_msg(message: bytes | str, mule: int = 0) -> None:
    """Queue a message for a mule. When this returns, the message waits in that mule's queue.

    Args:
        message: bytes, or a str that is sent as UTF-8.
        mule: which mule, from 1; 0 takes the least busy one.
    Raises:
        TypeError: the message is neither.
        MuleError: there is no such mule.
        MessageQueueFull: it has `Config.message_queue` messages waiting.
        NotServing: not called by a running member; use `Runtime.mule_msg` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.mule_msg`, which returns False when the queue is full.
    """
    data = as_message(message)
    member = _unit("mule_msg", "from other code use the mule_msg() of the Runtime that serve() starts").member
    _on_trios_thread(lambda: member.link.send(Post(mule, data)))


async def mule_get_msg(*, timeout: float = math.inf) -> bytes | None:
    """Wait for the next message of this mule. From the first call on, its program gets all of them, and handlers none.

    Asking for a message says that the one before is done.

    Args:
        timeout: seconds to wait, 0 or more; without it, for ever.
    Returns:
        The message, or None when the timeout passed.
    Raises:
        MuleError: not called by a mule's program.
        ValueError: the timeout is negative.
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: no message is lost; the next call gets it.
    uWSGI: `uwsgi.mule_get_msg`, which returns b"" at a timeout and None after a signal; signals need no call here.
    """
    if not timeout >= 0:
        raise ValueError(f"a timeout is 0 or more seconds, not {timeout!r}; leave it out to wait for ever")
    unit = _unit("mule_get_msg", "only a mule's program gets messages this way")
    if unit.kind != "program":
        raise MuleError(
            f"uwsgi.mule_get_msg() was called by {unit.member.name} in a {unit.kind}; only a mule's program may"
        )
    return await unit.member.inbox.get_message(timeout)


# ----- who runs, and for how long


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
        ValueError: negative, or not a number.
        NotServing: nothing is running that could be ended.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.set_user_harakiri`: whole seconds, one limit for all threads of a process, and the process is killed.
    """
    unit = _unit("set_user_harakiri", "it limits a request, a handler or a mule's program, so call it in one")
    _on_trios_thread(lambda: unit.limit(_deadline(seconds)))


def _deadline(seconds: float) -> float:
    if not seconds >= 0:
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
        ValueError: not above 0.
        NotServing: nothing is running that could be ended.
    Checkpoint: never by itself.
    uWSGI: `uwsgidecorators.harakiri`, which leaves the limit armed when its function raises.
    """
    unit = _unit("harakiri", "it limits a request, a handler or a mule's program, so use it in one")
    if not seconds > 0:
        raise ValueError(f"a harakiri is more than 0 seconds, not {seconds!r}")

    def enter() -> float:
        deadline = _deadline(seconds)
        unit.enter_block(deadline)
        return deadline

    deadline = _on_trios_thread(enter)
    try:
        yield
    finally:
        _on_trios_thread(lambda: unit.leave_block(deadline))
