"""The command line as process 1, as in a container.

Whose parent has ended, process 1 becomes the parent of, and has to reap: what an application starts and leaves behind
would gather there, dead, as long as the container lives. But whoever takes the status of any child that has ended takes
it also from the application, which waits for its own. So process 1 does nothing but that, and the server is its only
child of its own, to which it passes all posix signals on. (Process 1 is also the only one to which the kernel does not
deliver signals that nobody handles yet.)

The server has a process group of its own: a signal to the group of process 1, or from the terminal, would reach it
twice, and the second SIGTERM means at once.
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

# What says that the process itself is broken is not to be waited for, but to be had.
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
# With these systemd and its like say which process they mean.
_PID_VARIABLES = ("LISTEN_PID", "WATCHDOG_PID")


def prepare_command() -> None:
    """What a program does first of all, before there is anything that would have to be put right later."""
    have_standard_streams()
    _continue_in_child()
    block_job_control()  # so that threads of the application's import have it, too


def _continue_in_child() -> None:
    """Where this is process 1, return in a child of it, and never here. To be called before there are threads."""
    if os.getpid() != 1 or threading.active_count() > 1 or not hasattr(signal, "sigwaitinfo"):
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        child = os.fork()
    except OSError:  # then without
        child = 0
    if child:
        _run_init(child)
    os.setpgid(0, 0)
    for name in _PID_VARIABLES:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_init(child: int) -> NoReturn:
    """Pass signals on, and reap, until that one has ended; its exit code is that of the process."""
    set_title("init")
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # whoever is first
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
    """If there is one, and its foreground is ours to give."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(terminal) == os.getpgrp():
            os.tcsetpgrp(terminal, child)
    os.close(terminal)


def _close_inherited() -> None:
    """Sockets, say: as long as they are open here, nobody sees that the server has closed them."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
