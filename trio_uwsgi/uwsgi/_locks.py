"""The API of user locks."""

from __future__ import annotations

from types import TracebackType

from trio.lowlevel import checkpoint_if_cancelled

from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_unit, on_trios_thread

__all__ = ["is_locked", "lock", "locked", "unlock"]


_REMEDY = "use locks in a request, a handler or a mule's program"


@awaited
async def lock(num: int = 0) -> None:
    """Acquire a user lock, and wait for it if it is held.

    All members share the locks. Tasks that wait get a lock in the order in which they asked for it. If the request,
    handler, message or program ends while it holds the lock, the runtime releases the lock and logs a warning; so it
    does at the end of the application's import.

    Args:
        num: the number of the lock, 0 to `Config.locks`.
    Raises:
        LockError: there is no such lock, this task holds it already, or the calling thread may be abandoned
            (`abandon_on_cancel=True`) and could then not unlock it.
        NotServing: called neither by a member nor in the application's import, or the request or handler has ended
            already.
    Checkpoint: only when contended. A pending cancellation is always raised; other tasks run only while this one waits.
    Cancellation: this task does not hold the lock and no longer waits for it.
    uWSGI: `uwsgi.lock`, which guarantees no order. There a second call by the holder waits for ever, and a lock that is
        not released stays locked until its process ends.
    """
    unit = current_unit("lock", _REMEDY)
    await checkpoint_if_cancelled()
    locks = unit.member.services.locks
    if not locks.take(num, unit):
        await locks.wait(num, unit)


def unlock(num: int = 0) -> None:
    """Release a user lock. If tasks wait for it, the one that has waited longest holds the lock when this returns.

    Args:
        num: the number of the lock, 0 to `Config.locks`.
    Raises:
        LockError: there is no such lock, or this task does not hold it; the text names the holder.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the thread that locked it.
    uWSGI: `uwsgi.unlock`, which any code can call for any lock. If the caller does not hold the lock, this corrupts its
        state: `is_locked` returns False while another process holds it.
    """
    unit = current_unit("unlock", _REMEDY)
    on_trios_thread(unit.member.services.locks.release, num, unit)


def is_locked(num: int = 0) -> bool:
    """Return whether this user lock is held. The answer may be out of date a moment later.

    Args:
        num: the number of the lock, 0 to `Config.locks`.
    Raises:
        LockError: there is no such lock.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.is_locked`, which takes the lock to find out, and may take the lock of a dead process for ever.
    """
    unit = current_unit("is_locked", _REMEDY)
    return on_trios_thread(unit.member.services.locks.is_locked, num)


class locked:  # used like a function
    """Hold a user lock in the body of an `async with` block.

    Args:
        num: the number of the lock, 0 to `Config.locks`.
    Raises:
        LockError, NotServing: when the block is entered, as `lock`.
    Checkpoint: only when contended, on entry as `lock`; never on exit.
    Cancellation: on entry, the task does not hold the lock; in the body, the lock is released.
    uWSGI: `uwsgidecorators.lock`, a decorator, which holds lock 0 while its function runs.
    Example:
        async with uwsgi.locked(1):
            print("no other member is here")
    """

    __slots__ = ("_num",)

    def __init__(self, num: int = 0) -> None:
        self._num = num

    async def __aenter__(self) -> None:
        await lock(self._num)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unlock(self._num)
