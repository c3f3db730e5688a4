"""SIGTTIN and SIGTTOU: from whoever sends them, an order; from the kernel, a word about a terminal.

A background job of a shell must not read its terminal, nor write to it where that is set so (`stty tostop`). The kernel
then sends one of these to the whole group of processes, and again whenever the call is tried again, which a handler
makes happen at once. So under a terminal both are blocked, in all threads that begin from now on: the kernel lets such
a thread write, and fails its reading with EIO, and sends nothing. What another program in the group makes it send is
told from an order by what the kernel says of a signal, which a handler in Python does not see, and a signalfd does.

Without a terminal there is nothing of that, and programs that are started inherit nothing.
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
_INFO = struct.Struct("Iii116x")  # the number, an errno, and the code: how it was sent; of a signalfd_siginfo
_MOST = 16


def has_terminal() -> bool:
    """Does this process have a terminal that controls it?"""
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def in_background() -> bool:
    """Is this process a background job of such a terminal?"""
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
    """If there is a terminal, block both in this thread and those that it starts, and give what was blocked before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, JOB_CONTROL) if has_terminal() else None


def unblock_job_control(before: set[signal.Signals] | set[int]) -> None:
    """Have the signals blocked that were before. What has come meanwhile, and was not taken, is dropped: it would stop
    the process.
    """
    for number in JOB_CONTROL:
        former = signal.signal(number, signal.SIG_IGN)
        signal.signal(number, former)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def open_sent_signals() -> Iterator[int]:
    """A descriptor from which `next_sent_signals` reads, while both are held.

    Raises:
        OSError: this system has no such thing.
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
    """Wait for signals, and give those that somebody has sent on purpose."""
    await trio.lowlevel.wait_readable(descriptor)
    try:
        data = os.read(descriptor, _INFO.size * _MOST)
    except BlockingIOError:
        return []
    return [signal.Signals(number) for number, _, code in _INFO.iter_unpack(data) if code <= 0]  # SI_USER and its like
