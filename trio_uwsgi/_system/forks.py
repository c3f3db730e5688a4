"""Clean up the server's state in a child process that the application forks.

The application may fork: with `os.fork`, or with multiprocessing, which does so by default up to Python 3.13. The child
has a copy of state that does not work there: signal handlers that wake an event loop which does not run, so that
SIGTERM would have no effect; the parent's wakeup descriptor; and the sockets of listeners and clients, so that a port
stays in use, and a client does not see its connection closed, until the child ends.

So in the child the signal handlers of this package and of Trio are reset to the defaults, and the server's sockets are
closed. The application's own handlers and sockets stay. Signals are blocked from the fork until then, so that none is
lost.

A child that returns from the application's function, or leaves it with an exception such as `sys.exit` raises, ends
there (`end_forked_child`). The code of the server above it could only wait for a loop that does not run, for ever.

A zygote's own forks (`fork`) are not changed here: `_process/child_main.py` prepares these.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn

import trio._core._run

from trio_uwsgi._system.close_on_fork import close_copies
from trio_uwsgi._system.interpreter_exit import exit_code, flush_output

__all__ = [
    "blocked_signals",
    "call_in_forked_children",
    "end_forked_child",
    "fork",
    "forks_to_here",
    "ignored_signals",
    "install_fork_hooks",
]

# All signals that this package or Trio handles.
_HANDLED = frozenset(
    (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCHLD,
    )
)
_OURS = ("trio", "trio_uwsgi")


class _Fork(threading.local):
    """The state of a fork by this thread."""

    own = False
    mask: set[int] | set[signal.Signals] | None = None


_current = _Fork()
_undo_functions: list[Callable[[], object]] = []
_installed = False
_forks = 0

# Signals that the server has blocked or ignored in this process.
blocked_signals: set[signal.Signals] = set()
ignored_signals: set[signal.Signals] = set()


def install_fork_hooks() -> None:
    """Clean up in children that this process forks from now on."""
    global _installed
    if not _installed:
        _installed = True
        os.register_at_fork(before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child)


def call_in_forked_children(undo: Callable[[], object]) -> None:
    """Call this function in children that the application forks; it must not fail."""
    if undo not in _undo_functions:
        _undo_functions.append(undo)


def fork() -> int:
    """Fork a process of the server's own, without the cleanup.

    Raises:
        OSError: the system refused another process.
    """
    _current.own = True
    try:
        with warnings.catch_warnings():
            # From 3.12 on Python warns of threads here. The callers deal with those.
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()
    finally:
        _current.own = False


def forks_to_here() -> int:
    """How many forks by the application lead from the server's process to this one. Whoever calls code of the
    application compares it before and after: if it differs, this is a child that has come back.
    """
    return _forks


def end_forked_child(error: BaseException | None) -> NoReturn:
    """End a child that the application forked and did not end itself.

    Args:
        error: what its code raised. `SystemExit` has the exit code; any other is printed, and the code is 1.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = exit_code(error)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    flush_output()
    os._exit(code)


def _before() -> None:
    if not _current.own:
        _current.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def _in_the_parent() -> None:
    if _current.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _current.mask)
        _current.mask = None


def _in_the_child() -> None:
    global _forks
    if _current.own:
        return
    _forks += 1
    _reset_handlers()
    close_copies()
    for undo in _undo_functions:
        undo()
    _undo_functions.clear()  # they do not apply to the child's own children
    _clear_trio_state()
    if _current.mask is not None:
        _current.mask -= blocked_signals
    blocked_signals.clear()
    _in_the_parent()  # signals that arrived meanwhile are delivered after the cleanup


def _clear_trio_state() -> None:
    """Clear Trio's state; otherwise Trio would refuse another run in the child, because one seems to run."""
    context = trio._core._run.GLOBAL_RUN_CONTEXT.__dict__
    if "runner" in context:
        context.clear()
        trio._core._run.sniffio_library.name = None  # type: ignore[attr-defined]  # as Trio itself does
        sys.set_asyncgen_hooks(firstiter=None, finalizer=None)


def _reset_handlers() -> None:
    woken = False
    for number in _HANDLED:
        handler = signal.getsignal(number)
        module = getattr(handler, "__module__", None) or ""
        if callable(handler) and module.partition(".")[0] in _OURS:
            woken = True
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        elif handler is signal.SIG_IGN and number in ignored_signals:
            signal.signal(number, signal.SIG_DFL)
    ignored_signals.clear()
    if woken:
        signal.set_wakeup_fd(-1)
