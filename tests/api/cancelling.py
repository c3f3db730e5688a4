"""Cancels a call at each of its checkpoints, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import trio


class _CancelAt(trio.abc.Instrument):
    """Cancels a scope after a number of steps of a task."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, steps: int) -> None:
        self._task = task
        self._scope = scope
        self._steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the steps of the task, each of which ends at a checkpoint."""
        if task is self._task:
            self._steps -= 1
            if self._steps == 0:
                self._scope.cancel()


async def cancel_everywhere(make_call: Callable[[], Awaitable[object]], most: int = 50) -> AsyncIterator[int]:
    """Run a call again and again: cancelled before its first step, at its 1st, 2nd, ... checkpoint, and then whole.

    After each run, yields the number of the step, so that the test can check the state that is left. Fails if the call
    is not finished within `most` runs.
    """
    for steps in range(most):
        with trio.CancelScope() as scope:
            if steps == 0:
                scope.cancel()
            instrument = _CancelAt(trio.lowlevel.current_task(), scope, steps)
            trio.lowlevel.add_instrument(instrument)
            try:
                await make_call()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        yield steps
        if not scope.cancelled_caught:
            return
    raise AssertionError(f"the call did not end within {most} checkpoints")
