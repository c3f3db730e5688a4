"""What has to be known about the threads of `trio.to_thread.run_sync`, seen from outside.

Two questions (does this thread ask its task for something; does this task wait for its thread) that are answered by
looking at stacks, through public interfaces; and one act Trio has no public call for: leaving a thread behind although
its call did not allow it. Nothing here starts a thread or knows what runs in it: see `pool_thread.py` and
`clock_hold.py`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType

import outcome
import trio

_FROM_THREAD = frozenset({trio.from_thread.run.__code__, trio.from_thread.run_sync.__code__})
_TO_THREAD = inspect.unwrap(trio.to_thread.run_sync).__code__
_WAITING = inspect.unwrap(trio.lowlevel.wait_task_rescheduled).__code__


def asks_its_task(ident: int) -> bool:
    """Is the thread `ident` in `trio.from_thread.run` or `run_sync` right now, before, in or after the wait?

    A call with a `trio_token` does not count: it is answered by a system task, not by the one that waits for the
    thread.
    """
    frame = sys._current_frames().get(ident)
    while frame is not None:
        if frame.f_code in _FROM_THREAD:
            return frame.f_locals.get("trio_token") is None
        frame = frame.f_back
    return False


def thread_calls(task: trio.lowlevel.Task) -> list[bool]:
    """For each `to_thread.run_sync` the task is in, outermost first: does it wait for its thread (True) or serve it?

    A call that serves its thread runs what the thread asked for with `from_thread.run`. One that was given its thread's
    question in this moment, and did not run since, still says True. Not to be asked about the running task.
    """
    if getattr(task.coro, "cr_frame", task) is None:  # it has ended; not all versions of Trio can look into that
        return []
    codes = [frame.f_code for frame in await_frames(task)]
    return [inner is _WAITING for outer, inner in pairwise(codes) if outer is _TO_THREAD]


def is_system_task(task: trio.lowlevel.Task) -> bool:
    """Is it a system task? A thread that may be left behind (`abandon_on_cancel=True`) has one for each call of
    `from_thread`, and it ends with the call: it is nobody who could hold anything.
    """
    nursery = task.parent_nursery
    return nursery is None or nursery.parent_task.parent_nursery is None


class _Stepped:
    """A coroutine that is stepped by hand, asked as if it were a task."""

    iter_await_frames = trio.lowlevel.Task.iter_await_frames

    def __init__(self, coro: object) -> None:
        self.coro = coro


def await_frames(task: trio.lowlevel.Task | _Stepped) -> list[FrameType]:
    """The frames a task is in, outermost first.

    Some first steps are run by hand: for Python the chain of awaits ends in the generator `rest_of`, which
    has the rest of it in its variable `coroutine`. (A parked task's last frame is one of Trio's otherwise.)
    """
    frames = [frame for frame, _line in task.iter_await_frames()]  # type: ignore[misc]  # it reads nothing but `coro`
    stepped = frames[-1].f_locals.get("coroutine") if frames else None
    return frames if stepped is None else frames + await_frames(_Stepped(stepped))


class ThreadDetached(Exception):
    """Raised out of `to_thread.run_sync` when `TaskLink.cut` ended it before its thread did."""


class TaskLink:
    """What ties the calling thread to the task that waits for it. Made in the thread, used on Trio's.

    `to_thread.run_sync` fixes at its start whether a cancel may leave the thread behind. If it may, `from_thread.run`
    is not cancelled with the call, and that is how most code that waits in a thread ends; if it may not, a thread that
    does not end holds up the whole run. This package needs both, so it makes the change afterwards, to the state that
    Trio itself has once a cancel left a thread behind. That state has no public name. Where Trio has moved it, `found`
    is False, and a stop waits.
    """

    __slots__ = ("_locals", "_register", "found")

    _locals: dict[str, object]
    _register: list[trio.lowlevel.Task | None]

    def __init__(self) -> None:
        try:
            data = trio._threads.PARENT_TASK_DATA
            # The dict of a thread local object is this thread's own, also when another thread writes to it.
            self._register, self._locals = data.task_register, data.__dict__
            self.found = isinstance(self._register, list) and "token" in self._locals
        except AttributeError:
            self.found = False

    def refuse_calls(self) -> None:
        """Let every later `from_thread` call of this thread raise `trio.RunFinishedError`: its task will be gone."""
        self._locals["token"] = _Ended()

    def detach(self, task: trio.lowlevel.Task) -> None:
        """Raise `ThreadDetached` in `task` now; the thread's late report is dropped by Trio.

        Only after `refuse`, while the thread runs the function it was given, and `asks_its_task` is False: then no
        question of the thread is on its way (it would stand in `from_thread` until the answer), none will come, and
        `task` is parked.
        """
        self._register[0] = None
        trio.lowlevel.reschedule(task, outcome.Value(outcome.Error(ThreadDetached())))


class _Ended:
    """Stands where the thread's `TrioToken` was."""

    def run_sync_soon(self, func: Callable[..., object], *args: object) -> None:
        raise trio.RunFinishedError("the runtime that started this thread has stopped and left it behind")
