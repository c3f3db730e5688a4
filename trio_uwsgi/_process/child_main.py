"""A member's process from its first line to its last.

It comes from a fork of the zygote, or, with lazy applications, from an interpreter that was just started; here they
become alike. What a fork copies and must not be shared is made new (`_reset_inherited_state`), `main` runs, and the
process ends the way a Python program ends (`end_process`), except that it never unwinds into the zygote's frames, and
that it ends in time.

The lifeline is the read end of a pipe that nobody writes to. Its write ends are with the master and the zygote, so it
closes when both are dead: the one case in which nobody is left to end a child that does not end itself. The kernel then
sends SIGKILL by itself (`O_ASYNC`), which also ends C code that holds the GIL.
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
from trio_uwsgi._system.interpreter_exit import AFTER_A_FAILURE, end_process, exit_code
from trio_uwsgi._system.job_control import JOB_CONTROL, has_terminal
from trio_uwsgi._units.stack_dumps import answer_dumps

__all__ = ["ChildSpec", "ignore_sigterm", "run_child", "set_posix_signals", "wake_on_child_exit"]

logger = logging.getLogger("trio_uwsgi")

# By default these end the process, and that is what they shall do here, whatever the application did at import.
_DEFAULT_SIGNALS = (signal.SIGTERM, signal.SIGCHLD)
_MASTER_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


@dataclasses.dataclass(frozen=True, slots=True)
class ChildSpec:
    """What a child is made for: `main`, as `module:attribute`, is called with the descriptors and the setup. It may
    return in how many seconds the process is to have ended.
    """

    name: str
    main: str
    descriptors: list[int]
    setup: Any  # a JSON value
    lifeline: int


def set_posix_signals() -> None:
    """The signals of zygotes and members. Those that a terminal sends, or somebody to a whole group of processes, reach
    all, and only the master acts.

    That is a handler, and not SIG_IGN, because SIG_IGN would last in programs that the application starts. But under a
    terminal SIGTTIN and SIGTTOU are ignored_signals: see `job_control.py`.
    """
    if has_terminal():
        ignored_signals.update(JOB_CONTROL)
    for number in _MASTER_SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in ignored_signals else _ignore)
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts; else a reader that has gone ends the process
    answer_dumps()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def ignore_sigterm() -> None:
    """Of a zygote: whoever ends all processes of a service with it, as systemd may, still needs what members say."""
    signal.signal(signal.SIGTERM, _ignore)


def wake_on_child_exit(descriptor: int) -> None:
    """Of a zygote: have something written there, a socket that never blocks, when a child has ended."""
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def _ignore(signum: int, frame: FrameType | None) -> None:
    pass


def run_child(spec: ChildSpec) -> NoReturn:
    """Be that child, to the end of the process.

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
        except SystemExit as error:
            code = exit_code(error)
        except BaseException:
            traceback.print_exc()
            raise
    finally:  # not after it: nothing may unwind any further, into the zygote's frames
        end_process(code, AFTER_A_FAILURE if seconds is None else seconds, spec.name)


def _reset_inherited_state() -> None:
    """What all children of one zygote would have in common. `random` and `ssl` renew themselves; an application's own
    `random.Random()` is the application's to renew.
    """
    signal.set_wakeup_fd(-1)
    set_posix_signals()
    trio._core._run._r.seed()
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        multiprocessing._children.clear()  # they are the zygote's, and nobody else could join them
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
