"""Run a zygote's child, from the fork to the end of its process.

The child is a fork of the zygote, or, with lazy applications, a new interpreter. State that a fork copies but must not
share is reset (`_reset_inherited_state`), `main` runs, and the process ends as a Python program does (`end_process`),
except that it never unwinds into the zygote's stack frames, and that its end has a time limit.

The lifeline is the read end of a pipe to which nothing is written. The master and the zygote hold its write ends, so it
reaches its end when both are dead, and nothing else could end a child that hangs. The kernel then sends SIGKILL
(`O_ASYNC`), which also ends C code that holds the GIL.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import pkgutil
import select
import signal
import sys
import traceback
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import trio._core._run

from trio_uwsgi._system.forks import call_in_forked_children, ignored_signals, install_fork_hooks
from trio_uwsgi._system.interpreter_exit import AFTER_A_FAILURE, end_process, exit_code, log_lingering
from trio_uwsgi._system.job_control import JOB_CONTROL, has_terminal
from trio_uwsgi._units.stack_dumps import answer_dumps

__all__ = ["ChildSpec", "ignore_sigterm", "run_child", "set_posix_signals", "wake_on_child_exit"]

logger = logging.getLogger("trio_uwsgi")

# Reset to their default actions, whatever the application set when it was imported.
_DEFAULT_SIGNALS = (signal.SIGTERM, signal.SIGCHLD)
_MASTER_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


@dataclasses.dataclass(frozen=True, slots=True)
class ChildSpec:
    """What a child runs: `main`, as `module:attribute`, is called with the descriptors and the setup. It may return the
    seconds within which the process has to end.
    """

    name: str
    main: str
    descriptors: list[int]
    setup: Any  # a JSON value
    lifeline: int


def set_posix_signals() -> None:
    """Set the posix signals of a zygote or member. Signals from a terminal, or to a whole process group, reach all of
    them, and only the master acts on them.

    They are ignored by a handler, because programs that the application starts would inherit SIG_IGN. But under a
    terminal SIGTTIN and SIGTTOU are set to SIG_IGN: see `_system/job_control.py`.
    """
    if has_terminal():
        ignored_signals.update(JOB_CONTROL)
    for number in _MASTER_SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in ignored_signals else _ignore)
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as in a new interpreter; otherwise a closed pipe ends the process
    answer_dumps()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ignore_sigterm() -> None:
    """In a zygote: keep running when a service manager sends SIGTERM to all processes; members' statuses are needed."""
    signal.signal(signal.SIGTERM, _ignore)


def wake_on_child_exit(descriptor: int) -> None:
    """In a zygote: write to this descriptor, of a non-blocking socket, when a child has ended."""
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def _ignore(signum: int, frame: FrameType | None) -> None:
    pass


def run_child(spec: ChildSpec) -> NoReturn:
    """Run as this child, to the end of the process.

    The exit code is 0, that of a SystemExit, or 1 after any other exception, whose traceback is printed.
    """
    code = 1
    seconds: float | None = None
    try:
        try:
            _reset_inherited_state()
            _arm_lifeline(spec.lifeline)
            install_fork_hooks()
            call_in_forked_children(partial(os.close, spec.lifeline))
            seconds = pkgutil.resolve_name(spec.main)(spec.descriptors, spec.setup)
            code = 0
            log_lingering(spec.name)
        except SystemExit as error:
            code = exit_code(error)
        except BaseException:
            traceback.print_exc()
            raise
    finally:  # not after it: nothing may unwind any further, into the zygote's frames
        end_process(code, AFTER_A_FAILURE if seconds is None else seconds, spec.name)


def _reset_inherited_state() -> None:
    """Reset state that all children of a zygote would share. `random` and `ssl` reseed themselves after a fork; the
    application has to reseed its own `random.Random()`.
    """
    signal.set_wakeup_fd(-1)
    set_posix_signals()
    trio._core._run._r.seed()
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        multiprocessing._children.clear()  # they are the zygote's children, and cannot be joined here
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _arm_lifeline(lifeline: int) -> None:
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):  # it closed before it was armed
        os.kill(os.getpid(), signal.SIGKILL)
