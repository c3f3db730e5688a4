"""Signals, timers and crons of the module `uwsgi`."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Literal

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import TrueOrNone, as_address, as_name, signum_of, true_or_none, whole
from trio_uwsgi.compat.calling import current_member, waiting
from trio_uwsgi.errors import RegistrationError

__all__ = [
    "add_cron",
    "add_file_monitor",
    "add_ms_timer",
    "add_rb_timer",
    "add_timer",
    "register_signal",
    "signal",
    "signal_received",
    "signal_registered",
    "signal_wait",
]

_received: ContextVar[int] = ContextVar("trio_uwsgi_compat_signal_received", default=0)
# Targets that uWSGI has two names for.
_SAME = {"worker0": "worker", "mule0": "mule"}


def register_signal(signum: int, who: str, handler: Callable[[int], object], /) -> None:
    """Register the handler of a signal.

    uWSGI: a target that cannot exist is refused here; there it is accepted, and its signals are lost. A registration by
        a worker counts for the whole runtime, and not only for that worker.
    """
    target = as_name("register_signal", who)
    member = current_member()
    if member is not None and member.kind != "worker":
        raise RegistrationError(f"only the application's import and workers register signals, not {member.name}")
    native.register_signal(signum_of(signum), _SAME.get(target, target), handler)


def signal(signum: int = 0, node: str = "", /) -> None:
    """Raise a signal, here or at another node.

    uWSGI: a signal that does not fit into a queue raises `SignalQueueFull`; there it is lost. While the application is
        imported it is kept until members serve.
    """
    number = signum_of(signum)
    if as_name("signal", node):
        waiting(native.remote_signal, number, as_address(node))
    else:
        native.signal(number)


def signal_registered(signum: int, /) -> TrueOrNone:
    """Tell whether a signal has a handler: True or None."""
    return true_or_none(native.signal_registered(signum_of(signum)))


def signal_wait(signum: int | None = None, /) -> Literal[b""]:
    """Wait until this member has run the handler of a signal; `signal_received` has its number afterwards.

    uWSGI: the member runs handlers meanwhile as always; there the waiting code takes the signal from other workers.
    """
    _received.set(waiting(native.signal_wait, None if signum is None else signum_of(signum)))
    return b""


def signal_received() -> int:
    """Return the number that the last `signal_wait` of this code waited for; 0 before the first."""
    return _received.get()


def add_timer(signum: int, seconds: int, /) -> None:
    """Raise a signal every so many seconds.

    uWSGI: there may be more than 64. 0 or less is refused with `RegistrationError`; there such a timer never fires.
    """
    _timer(native.add_timer, signum_of(signum), whole(seconds))


def add_ms_timer(signum: int, milliseconds: int, /) -> None:
    """Raise a signal every so many milliseconds. It is in uWSGI 2.1.

    uWSGI: as `add_timer`.
    """
    _timer(native.add_ms_timer, signum_of(signum), whole(milliseconds))


def add_rb_timer(signum: int, seconds: int, iterations: int = 0, /) -> None:
    """Raise a signal a number of times, or for ever.

    uWSGI: there may be more than 64, and they do not drift. 0 seconds or less is refused; there all signals come at
        once, and without a number of iterations the master is busy for ever.
    """
    times = whole(iterations)
    _timer(native.add_rb_timer, signum_of(signum), whole(seconds), 1 if times < 0 else times)


def add_cron(signum: int, minute: int, hour: int, day: int, month: int, weekday: int, /) -> Literal[True]:
    """Raise a signal at minutes of the wall clock; a negative number -n stands for every multiple of n.

    uWSGI: it fires at second 0 of a minute, and never skips one or runs twice in one; there it fires as soon as the
        master looks. A date that does not exist is refused; there it never fires.
    """
    when = [whole(value) for value in (minute, hour, day, month, weekday)]
    _timer(native.add_cron, signum_of(signum), *when)
    return True


def add_file_monitor(signum: int, filename: str, /) -> None:
    """Raise a signal when a file, or the entries of a directory, change.

    uWSGI: there may be more than 64, with paths of any length. A path need not exist yet, and a file that is replaced
        is still monitored. Changes that come together raise one signal.
    """
    native.add_file_monitor(signum_of(signum), as_name("add_file_monitor", filename))


def _timer(add: Callable[..., object], *args: int) -> None:
    """Add a timer whose ticks wait in queues as those of uWSGI do, and are not skipped while a handler runs."""
    add(*args, late="queue", overlap=True)
