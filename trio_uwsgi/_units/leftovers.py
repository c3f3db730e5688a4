"""What a unit of user code leaves open in the task that ran it.

An async generator that yields inside of a cancel scope or a nursery, and is not closed by whoever iterates over it,
leaves that open in the task: whatever the task does next is under it, is cancelled by its deadline, and cannot leave
its own scope in order. A task that runs one unit after the other must therefore look, after each of them, whether its
stack of scopes is as it was, and must not go on if it is not: what a unit left ends with the unit's task.

To look costs one comparison. Trio has no public name for a task's innermost scope, but for its cancel status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator

import trio

from trio_uwsgi._units.journal import only_error
from trio_uwsgi.errors import UwsgiError

__all__ = ["Fence", "LeftOpen", "fenced", "in_own_task"]


class LeftOpen(UwsgiError, RuntimeError):
    """User code ended and left a cancel scope or a nursery open in its task.

    Args:
        what: the unit of work, as in `request GET /stream`.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} left a cancel scope or a nursery open, as an async generator does that yields inside of one and "
            f"is not closed; yield outside of it, or iterate over the generator inside of contextlib.aclosing()"
        )
        self.what = what


class Fence:
    """Around the units of one task: `task._cancel_status is fence.status` as long as none has left anything open.

    `left_open` says, after the block, that one has: the task is to end.
    """

    __slots__ = ("left_open", "status", "task")

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.status = self.task._cancel_status
        self.left_open = False


@contextlib.contextmanager
def fenced(scope: trio.CancelScope) -> Iterator[Fence]:
    """Enter a scope for units, and leave it whatever they have left open in it: scopes are as cancelled as this one
    then, and have no task; nurseries are cancelled, and nobody's. A cancellation that was on its way then ends here.
    """
    before = len(trio.lowlevel.current_task().child_nurseries)
    fence = None
    try:
        with scope:
            fence = Fence()
            try:
                yield fence
            finally:
                fence.left_open = fence.task._cancel_status is not fence.status
                if fence.left_open:
                    _close_nurseries(fence.task, before)
    except RuntimeError as misnested:
        if fence is None or not fence.left_open:
            raise
        others = _without_cancelled(misnested.__context__)
        if others is not None:
            raise others from others.__cause__


async def in_own_task(run: Callable[[], Awaitable[None]], name: str) -> bool:
    """Await `run()` in a task of its own, under the scopes of the caller, and say whether it left anything open there.
    What it raises is raised without a group of its own.
    """
    left_open = False

    async def fence() -> None:
        nonlocal left_open
        task = trio.lowlevel.current_task()
        status = task._cancel_status
        try:
            await run()
        finally:
            left_open = task._cancel_status is not status
            if left_open:
                _close_nurseries(task, 0)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fence, name=name)
    except BaseExceptionGroup as group:
        error = only_error(group)
        raise error from error.__cause__
    return left_open


def _close_nurseries(task: trio.lowlevel.Task, before: int) -> None:
    # Trio would end our nursery with an error when the task ends with these.
    for nursery in task._child_nurseries[before:]:
        nursery.cancel_scope.cancel()
        nursery._closed = True  # so that its own end, if that ever comes, waits for nobody
    del task._child_nurseries[before:]


def _without_cancelled(error: BaseException | None) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error
