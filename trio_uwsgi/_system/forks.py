"""What a fork copies and must not be there in the child.

The application may fork: with `os.fork`, or with multiprocessing, whose default that was up to Python 3.13. The child
has all of this process's state, and nobody who acts on it: handlers of posix signals that wake a loop which does not
run there, so that SIGTERM would do nothing; the descriptor to wake it by, which is the parent's; the sockets of
listeners and clients, so that a port stays in use, and a client waits for its connection's end, as long as the child
lives.

In the child the handlers that we, or Trio, have set are what they are in a new process, and our sockets are closed.
Those of the application stay. No signal is lost between the fork and that: they are blocked meanwhile.

A zygote's own forks (`fork`) are left alone: what they become is said in `child_main.py`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable

import trio._core._run

from trio_uwsgi._system.close_on_fork import close_copies

__all__ = ["blocked_signals", "call_in_forked_children", "fork", "ignored_signals", "install_fork_hooks"]

# All that anything here or in Trio handles.
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
    """The fork that this thread is in."""

    own = False
    mask: set[int] | set[signal.Signals] | None = None


_current = _Fork()
_undo_functions: list[Callable[[], object]] = []
_installed = False

# Signals that this process blocks, and that it ignores, for reasons of its own.
blocked_signals: set[signal.Signals] = set()
ignored_signals: set[signal.Signals] = set()


def install_fork_hooks() -> None:
    """Do what this module is for, from now on, in the children of this process."""
    global _installed
    if not _installed:
        _installed = True
        os.register_at_fork(before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child)


def call_in_forked_children(undo: Callable[[], object]) -> None:
    """Have this called in children that the application forks, from now on; it must not fail."""
    if undo not in _undo_functions:
        _undo_functions.append(undo)


def fork() -> int:
    """Fork a process of ours, which becomes by itself what it is to be.

    Raises:
        OSError: there is no room for one more.
    """
    _current.own = True
    try:
        with warnings.catch_warnings():
            # From 3.12 on Python warns of threads here. What becomes of them is the callers' matter.
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()
    finally:
        _current.own = False


def _before() -> None:
    if not _current.own:
        _current.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def _in_the_parent() -> None:
    if _current.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _current.mask)
        _current.mask = None


def _in_the_child() -> None:
    if _current.own:
        return
    _reset_handlers()
    close_copies()
    for undo in _undo_functions:
        undo()
    _undo_functions.clear()  # the child's own children have nothing of it
    _clear_trio_state()
    if _current.mask is not None:
        _current.mask -= blocked_signals
    blocked_signals.clear()
    _in_the_parent()  # what came meanwhile finds it all done


def _clear_trio_state() -> None:
    """Otherwise code of the child that runs a loop of its own would be told that one runs already."""
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
