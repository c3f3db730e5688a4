"""SIGTTIN and SIGTTOU: as commands to the server, told apart from the kernel's job control of a terminal.

A background job of a shell must not read from its terminal, nor write to it with `stty tostop`. The kernel then sends
one of these signals to the whole process group, and again for each retry of the call; with a handler the call is
retried at once. So under a terminal both signals are blocked, in all threads that start from now on: the kernel then
lets a thread write, fails its read with EIO, and sends no signal. Signals that other programs in the group cause are
recognized by the signal's origin, which a signalfd has and a handler in Python has not.

Without a terminal nothing is blocked, and programs that the application starts inherit nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Iterator

import trio

__all__ = [
    "JOB_CONTROL",
    "block_job_control",
    "has_terminal",
    "in_background",
    "next_sent_signals",
    "open_sent_signals",
    "unblock_job_control",
]

JOB_CONTROL = (signal.SIGTTIN, signal.SIGTTOU)

_TERMINAL = "/dev/tty"
_INFO = struct.Struct("Iii116x")  # of a signalfd_siginfo: signal number, errno, and code (how it was sent)
_MOST = 16


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def in_background() -> bool:
    """Whether this process is a background job of its controlling terminal."""
    try:
        terminal = os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def block_job_control() -> set[signal.Signals] | set[int] | None:
    """Under a terminal, block both in this thread and those that it starts; returns the signal mask from before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, JOB_CONTROL) if has_terminal() else None


def unblock_job_control(before: set[signal.Signals] | set[int]) -> None:
    """Restore the signal mask from before. Pending signals are dropped, because they would stop the process."""
    for number in JOB_CONTROL:
        former = signal.signal(number, signal.SIG_IGN)
        signal.signal(number, former)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def open_sent_signals() -> Iterator[int]:
    """A descriptor from which `next_sent_signals` reads, while both signals are blocked.

    Raises:
        OSError: this system has no signalfd.
    """
    mask = (ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong)))()
    for number in JOB_CONTROL:
        mask[0] |= 1 << (number - 1)
    make = getattr(ctypes.CDLL(None, use_errno=True), "signalfd", None)
    descriptor = -1 if make is None else make(-1, ctypes.byref(mask), os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def next_sent_signals(descriptor: int) -> list[signal.Signals]:
    """Wait for signals, and return those that a process has sent deliberately."""
    await trio.lowlevel.wait_readable(descriptor)
    try:
        data = os.read(descriptor, _INFO.size * _MOST)
    except BlockingIOError:
        return []
    return [signal.Signals(number) for number, _, code in _INFO.iter_unpack(data) if code <= 0]  # SI_USER and its like
