"""User locks of the module `uwsgi`."""

from __future__ import annotations

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import whole
from trio_uwsgi.compat.calling import current_member, waiting
from trio_uwsgi.errors import LockError

__all__ = ["is_locked", "lock", "unlock"]


def lock(lock_num: int = 0, /) -> None:
    """Acquire a user lock, and wait for it if it is held.

    uWSGI: a second call by the holder raises `LockError`; there it blocks the worker for ever. A lock that is still
        held when its request, handler or message ends is released then, with a line in the log.
    """
    waiting(native.lock, _number(lock_num))


def unlock(lock_num: int = 0, /) -> None:
    """Release a user lock.

    uWSGI: for a lock that the caller does not hold this raises `LockError`; there it corrupts the lock.
    """
    native.unlock(_number(lock_num))


def is_locked(lock_num: int = 0, /) -> bool:
    """Tell whether a user lock is held.

    uWSGI: the lock of a process that died is free; there the question may take it for ever. In processes a
        lock counts as held until the master has heard of its release.
    """
    return native.is_locked(_number(lock_num))


def _number(lock_num: int) -> int:
    member = current_member()
    if member is not None and member.kind == "spooler":
        raise LockError("The spooler cannot lock/unlock resources: use locks in workers and mules")
    return whole(lock_num)
