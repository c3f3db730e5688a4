"""What processes of members need of the system, tried before there is one; and posix signals to them.

A sandbox may refuse any system call, and an old kernel have none of it. That is no death of a member, after which one
would try again: it is one sentence at the start.
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

TASKS_NEED_NONE = "let them be tasks: leave out --processes, or placement='process' of a Config"


def require_processes() -> None:
    """Try what the processes of members need.

    Raises:
        ConfigError: this system does not have it, or refuses it.
    """
    if not (hasattr(os, "pidfd_open") and hasattr(fcntl, "F_SETSIG")):
        raise ConfigError("members in processes of their own need Linux", TASKS_NEED_NONE)
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
            f"members in processes of their own need the system call {call}, which is refused here: {error}",
            TASKS_NEED_NONE,
        ) from None


def send_signal(pidfd: int, pid: int, number: int) -> None:
    """Send a posix signal to the process of this pidfd; nothing happens after its end.

    Where the system has come to refuse that (a sandbox that closed later), it goes to the pid, if the process still
    runs: then nobody else can have the pid, but for one that came in this very moment.
    """
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:  # ended, and not yet seen
        pass
    except OSError:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(0):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has become another user
                os.kill(pid, number)
