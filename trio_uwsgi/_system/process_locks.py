"""Locks between the processes of a runtime, each on the first bytes of a file that they share.

A lock belongs to its process, and the kernel releases it when that ends in any way; the threads of a process need a
lock of their own besides. It is held for microseconds.
"""

from __future__ import annotations

import errno
import fcntl

__all__ = ["lock_process", "unlock_process"]


def lock_process(descriptor: int) -> None:
    """Take the lock of this file, and wait for it if another process has it."""
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX, 1)
            return
        except OSError as error:
            # The kernel takes all threads of a process for one. It sees a deadlock if this process has some other lock
            # that a thread of the holder waits for; but the thread that has this lock goes on, and releases it.
            if error.errno != errno.EDEADLK:
                raise


def unlock_process(descriptor: int) -> None:
    """Release it."""
    fcntl.lockf(descriptor, fcntl.LOCK_UN, 1)
