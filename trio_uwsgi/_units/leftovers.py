"""Leftovers: cancel scopes and nurseries that a unit of user code leaves open in the task that ran it.

An async generator that yields inside of a cancel scope or a nursery, and is not closed by its caller, leaves it open in
the task. The code that the task runs next is then inside of that scope, is cancelled by its deadline, and cannot exit
its own scopes in order. So a task that runs many units compares its innermost scope after each of them, and ends if
that has changed; leftovers end with the task.

The comparison is of `Task._cancel_status`: Trio has no public name for a task's innermost scope.
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
            f"is not closed; yield outside of it, or wrap the generator in contextlib.aclosing()"
        )
        self.what = what


class Fence:
    """Detects leftovers of the units of one task: `task._cancel_status is fence.status` as long as there are none.

    After the block `left_open` is True if there were some: the task must end then.
    """

    __slots__ = ("left_open", "status", "task")

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.status = self.task._cancel_status
        self.left_open = False


@contextlib.contextmanager
def fenced(scope: trio.CancelScope) -> Iterator[Fence]:
    """Enter a scope for units, and exit it whatever they have left open in it: leftover scopes are detached from the
    task, leftover nurseries are cancelled and detached. A cancellation that was being delivered ends here then.
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
    """Await `run()` in its own task, inside of the caller's scopes, and return whether it left anything open there.
    Its exceptions are raised without a group around them.
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
    # Trio would raise an error in our nursery if the task ended with open nurseries.
    for nursery in task._child_nurseries[before:]:
        nursery.cancel_scope.cancel()
        nursery._closed = True  # if its `async with` block ever ends, it must not wait for tasks
    del task._child_nurseries[before:]


def _without_cancelled(error: BaseException | None) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error
