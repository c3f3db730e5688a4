"""Check the system calls that members' processes need, and send posix signals through pidfds.

A sandbox may refuse a system call, and an old kernel may lack it. Retrying does not help then, so this is one error at
the start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Callable

from trio_uwsgi.errors import ConfigError

__all__ = ["TASKS_NEED_NONE", "require_processes", "send_signal"]

TASKS_NEED_NONE = "run members as tasks: leave out --processes, or placement='process' in the Config"


def require_processes() -> None:
    """Try the system calls that members' processes need.

    Raises:
        ConfigError: this system lacks or refuses one.
    """
    if not (hasattr(os, "pidfd_open") and hasattr(fcntl, "F_SETSIG")):
        raise ConfigError("members' processes need Linux", TASKS_NEED_NONE)
    memory = _tried("memfd_create", lambda: os.memfd_create("trio_uwsgi", os.MFD_CLOEXEC))
    os.close(memory)
    pidfd = _tried("pidfd_open", lambda: os.pidfd_open(os.getpid()))
    try:
        _tried("pidfd_send_signal", lambda: signal.pidfd_send_signal(pidfd, 0))
    finally:
        os.close(pidfd)


def _tried(call: str, do: Callable[[], int | None]) -> int:
    try:
        return do() or 0
    except (OSError, AttributeError) as error:
        raise ConfigError(
            f"members' processes need the system call {call}, which this system refuses: {error}",
            TASKS_NEED_NONE,
        ) from None


def send_signal(pidfd: int, pid: int, number: int) -> None:
    """Send a posix signal to the process of this pidfd; nothing happens after its end.

    If the system has begun to refuse that (a sandbox), the signal is sent to the pid, if the process still runs. The
    pid could only be reused if the process ends in that very moment.
    """
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:  # it has ended, which is not noticed yet
        pass
    except OSError:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(0):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has switched to another user
                os.kill(pid, number)
