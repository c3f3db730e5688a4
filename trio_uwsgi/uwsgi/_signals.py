"""The API of uwsgi signals."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar, overload

from trio_uwsgi._link.frames import Raise
from trio_uwsgi._signals.handlers import Registering, SignalHandler, check_signum  # for typing.get_type_hints
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_registry, current_unit, registering, running_unit, send_to_master

__all__ = ["register_signal", "signal", "signal_handler", "signal_received", "signal_registered", "signal_wait"]

T = TypeVar("T")

_received: ContextVar[int] = ContextVar("trio_uwsgi_signal_received", default=0)


@overload
def signal_handler(signum: Callable[[int], T], /) -> SignalHandler[T]: ...
@overload
def signal_handler(signum: int | None = None, /, *, target: str = "") -> Registering: ...
def signal_handler(
    signum: Callable[[int], T] | int | None = None, /, *, target: str = ""
) -> SignalHandler[T] | Registering:
    """Decorate a function to run when a uwsgi signal is raised.

    The members of the target run the function: an `async def` as a task, a `def` in a thread. Each member runs one
    signal at a time, in the order in which the signals were raised. The time limit is `Config.harakiri` in workers,
    `Config.mule_harakiri` in mules and `Config.spooler_harakiri` in spoolers.

    Args:
        signum: 0 to 255. Without it, and as a bare `@uwsgi.signal_handler`, the highest free number is taken. The
            function has the number as its attribute `signum` afterwards.
        target: the members that run it: `""` or `"worker"` (the least busy worker), `"workers"` (all workers),
            `"active-workers"` (all workers that are ready), `"worker2"` (worker 2), `"mule"` (any mule), `"mules"` (all
            mules), `"mule1"` (mule 1), `"farm_images"` (any mule of the farm `images`), `"farm1"` (any mule of the
            first farm), `"spooler"` (any spooler), `"spoolers"` (all spoolers), or `"spooler1"` (spooler 1).
    Returns:
        The function itself, so decorators stack.
    Raises:
        RegistrationError: the number is not valid or is taken, all numbers are taken, or the target cannot exist; the
            text says what is valid.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.signal`, where the number is required, and signals to a target that does not exist are
        lost.
    Example:
        @uwsgi.signal_handler(17, target="workers")
        async def forget_prices(signum):
            prices.clear()
    """
    if signum is None or isinstance(signum, int):
        return registering(current_registry().signal_handler(signum, target=target))
    return registering(current_registry().signal_handler)(signum)


def register_signal(signum: int, kind: str, handler: Callable[[int], object]) -> None:
    """Register a signal's handler; the decorator `signal_handler` is the shorter way.

    Args:
        signum: 0 to 255.
        kind: the target, as in `signal_handler`.
        handler: called with the number; `async def` or `def`. Its result is ignored.
    Raises:
        RegistrationError: as `signal_handler`. In a running member a number that is taken is not an error: its handler
            is replaced.
    Checkpoint: never.
    uWSGI: `uwsgi.register_signal`. There a registration in a worker counts for that worker only; here it counts for
        the whole runtime. A target that cannot exist is an error at once.
    """
    current_registry().register_signal(signum, kind, handler)


def signal(signum: int) -> None:
    """Raise a uwsgi signal: the master routes it to the members of its target.

    When this returns, the signal waits in the queue of each recipient. A recipient runs the handler unless the runtime
    stops first. If the number has no handler, the log names the member that raised it, and nothing else happens. In the
    application's import the signal is kept, and raised once members serve.

    Args:
        signum: 0 to 255.
    Raises:
        RegistrationError: `signum` is not 0 to 255.
        SignalQueueFull: a recipient has `Config.signal_queue` signals waiting; no recipient gets this one.
        NotServing: called neither by a member nor in the application's import; use `Runtime.signal` from outside.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.signal`, which drops signals that do not fit into a socket buffer, without an error, and takes
        numbers modulo 256. Its form with a node is `remote_signal` here.
    """
    check_signum(signum)
    member = current_unit("signal", "from other code use the signal() of the Runtime that serve() starts").member
    send_to_master(member, Raise(signum))


def signal_registered(signum: int) -> bool:
    """Return whether a handler is registered for this signal.

    Args:
        signum: 0 to 255.
    Raises:
        RegistrationError: `signum` is not 0 to 255.
    Checkpoint: never.
    uWSGI: `uwsgi.signal_registered`, which returns True or None.
    """
    check_signum(signum)
    return signum in current_registry().signals


@awaited
async def signal_wait(signum: int | None = None) -> int:
    """Wait until this member has run the handler of a signal.

    Args:
        signum: the signal to wait for; None for any.
    Returns:
        The number of the signal, which `signal_received` returns afterwards.
    Raises:
        RegistrationError: `signum` is not 0 to 255.
        NotServing: not called by a running member.
        RuntimeError: called by a signal handler: its member runs no other signal until it returns.
    Checkpoint: always.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.signal_wait`, which runs the handlers itself and returns `b""`. Here the member runs them as always,
        and this function only waits.
    """
    if signum is not None:
        check_signum(signum)
    unit = running_unit("signal_wait", "call it in a request, a message handler or a mule's program")
    if unit.kind == "signal":
        raise RuntimeError(
            "a signal handler cannot wait for a signal: its member runs them one at a time; wait in a mule's program"
        )
    number = await unit.member.inbox.wait_signal(signum)
    note_received(number)
    return number


def note_received(number: int) -> None:
    """Have `signal_received` return this number in the calling code."""
    _received.set(number)


def signal_received() -> int:
    """Return the number that the last `signal_wait` of this task returned; 0 before the first.

    Checkpoint: never.
    uWSGI: `uwsgi.signal_received`.
    """
    return _received.get()
