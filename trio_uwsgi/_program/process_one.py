"""Run the command line as process 1, as in a container: an init process with the server as its child.

Process 1 adopts every process whose parent has ended, and has to reap it; otherwise processes that the application
starts and leaves behind would stay as zombies. But a server that reaps any child also takes the status of those that
the application itself waits for. So process 1 only reaps and forwards posix signals, and the server is its child. (Also
the kernel does not deliver signals without a handler to process 1.)

The server has its own process group. Otherwise a signal to the group of process 1, or from the terminal, would reach it
twice, and a second SIGTERM stops it immediately.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import NoReturn

from trio_uwsgi._system.job_control import block_job_control
from trio_uwsgi._system.process_titles import set_title
from trio_uwsgi._system.standard_streams import have_standard_streams

__all__ = ["prepare_command"]

# Faults of the process itself must take effect, and cannot be waited for.
_OWN_FAULTS = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
_SIGNALS = signal.valid_signals() - _OWN_FAULTS - {signal.SIGKILL, signal.SIGSTOP}
# Variables with which service managers say for which process the others are.
_PID_VARIABLES = ("LISTEN_PID", "WATCHDOG_PID")


def prepare_command() -> None:
    """The first steps of the command, before anything that they would affect exists."""
    have_standard_streams()
    _continue_in_child()
    block_job_control()  # before the import, so that threads which that starts inherit it


def _continue_in_child() -> None:
    """In process 1, return only in a forked child. To be called before there are threads."""
    if os.getpid() != 1 or threading.active_count() > 1 or not hasattr(signal, "sigwaitinfo"):
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        child = os.fork()
    except OSError:  # continue without it
        child = 0
    if child:
        _run_init(child)
    os.setpgid(0, 0)
    for name in _PID_VARIABLES:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_init(child: int) -> NoReturn:
    """Forward signals to this child, and reap, until it ends; then exit with its exit code."""
    set_title("init")
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # both processes do this, whichever is first
    _hand_over_the_terminal(child)
    _close_inherited()
    while True:
        number = signal.sigwaitinfo(_SIGNALS).si_signo
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        while (ended := _reap()) is not None:
            pid, code = ended
            if pid == child:
                os._exit(code if code >= 0 else 128 - code)


def _reap() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _hand_over_the_terminal(child: int) -> None:
    """Make the child the terminal's foreground job, if this process is."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(terminal) == os.getpgrp():
            os.tcsetpgrp(terminal, child)
    os.close(terminal)


def _close_inherited() -> None:
    """Close inherited descriptors, such as sockets: a copy here would hide that the server has closed its own."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(name))
