"""The API of user locks."""

from __future__ import annotations

from types import TracebackType

from trio.lowlevel import checkpoint_if_cancelled

from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_unit, on_trios_thread

__all__ = ["is_locked", "lock", "locked", "unlock"]


_REMEDY = "user locks belong to a runtime; lock in a request, a handler or a mule's program"


@awaited
async def lock(num: int = 0) -> None:
    """Wait for a user lock, and hold it. Locks are the whole runtime's, and go to those who wait in their order.

    The holder is this task, in this request, handler, message or program. When that ends, however it does, the lock is
    let go of, with a line in the log.

    Args:
        num: which lock, 0 to `Config.locks`.
    Raises:
        LockError: there is no such lock, this task holds it already, or the thread that asks may be left behind
            (`abandon_on_cancel=True`), so that nobody could unlock it.
        NotServing: not called by a running member, or its request or handler has ended.
    Checkpoint: a cancellation arrives here; others run only when the lock is held by somebody.
    Cancellation: the lock is not held, and the place in the line is given up.
    uWSGI: `uwsgi.lock`, where a second call by the holder waits for ever, and nothing lets go of a forgotten lock.
    """
    unit = current_unit("lock", _REMEDY)
    await checkpoint_if_cancelled()
    locks = unit.member.services.locks
    if not locks.take(num, unit):
        await locks.wait(num, unit)


def unlock(num: int = 0) -> None:
    """Let go of a user lock. The one that waited longest holds it when this returns.

    Args:
        num: which lock, 0 to `Config.locks`.
    Raises:
        LockError: there is no such lock, or this task does not hold it; says who does.
        NotServing: not called by a running member.
    Checkpoint: never. May be called from the thread that locked it.
    uWSGI: `uwsgi.unlock`, with which anybody can unlock, and make `is_locked` lie.
    """
    unit = current_unit("unlock", _REMEDY)
    on_trios_thread(unit.member.services.locks.release, num, unit)


def is_locked(num: int = 0) -> bool:
    """Does anybody hold this user lock? It may be another answer a moment later.

    Args:
        num: which lock, 0 to `Config.locks`.
    Raises:
        LockError: there is no such lock.
        NotServing: not called by a running member.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.is_locked`, which takes the lock to find out.
    """
    unit = current_unit("is_locked", _REMEDY)
    return on_trios_thread(unit.member.services.locks.is_locked, num)


class locked:  # used like a function
    """Hold a user lock in the body of an `async with` block.

    Args:
        num: which lock, 0 to `Config.locks`.
    Raises:
        LockError, NotServing: on the way in, as `lock`.
    Checkpoint: on the way in, as `lock`; never on the way out.
    Cancellation: on the way in, the lock is not held; in the body, it is let go of.
    uWSGI: `uwsgidecorators.lock` holds lock 0 around a function.
    Example:
        async with uwsgi.locked(1): ...
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
