"""Inspects and detaches threads of `trio.to_thread.run_sync`.

Three questions are answered from stacks, through public interfaces: is this thread in a `from_thread` call, does it
wait for the calling thread, and does this task wait for its thread? One operation has no public interface in Trio:
detaching a thread whose call did not allow that. Nothing here starts threads: see `pool_thread.py` and
`_testing/clock_hold.py`.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import FrameType

import outcome
import trio

_FROM_THREAD = frozenset({trio.from_thread.run.__code__, trio.from_thread.run_sync.__code__})
_TO_THREAD = inspect.unwrap(trio.to_thread.run_sync).__code__
_RUN_WORK = concurrent.futures.thread._WorkItem.run.__code__
_WAITING = inspect.unwrap(trio.lowlevel.wait_task_rescheduled).__code__


def asks_its_task(ident: int) -> bool:
    """Is the thread `ident` in `trio.from_thread.run` or `run_sync`, before, in or after the wait?

    A call with a `trio_token` does not count: a system task serves it, not the task that waits for the thread.
    """
    for frame in _frames(ident):
        if frame.f_code in _FROM_THREAD:
            return frame.f_locals.get("trio_token") is None
    return False


def waits_for_caller(ident: int) -> bool:
    """Does the thread `ident` wait in a function that was given the calling thread, or the future that this computes?

    Such functions are `Thread.join`, `Future.result`, `concurrent.futures.wait`, and the one of asgiref that runs an
    async view of Flask or Django in a thread.
    """
    mine = {id(threading.current_thread())}
    mine |= {id(frame.f_locals["self"].future) for frame in _frames(threading.get_ident()) if frame.f_code is _RUN_WORK}
    frames = [*_frames(ident)]
    waits = frames and frames[0].f_globals.get("__name__") == "threading"
    return bool(waits) and any(id(value) in mine for frame in frames for value in _arguments(frame))


def _arguments(frame: FrameType) -> Iterator[object]:
    for name in frame.f_code.co_varnames[: frame.f_code.co_argcount]:
        value = frame.f_locals.get(name)
        yield value
        if isinstance(value, set | list | tuple):
            yield from tuple(value)  # a copy: the other thread may change it


def _frames(ident: int) -> Iterator[FrameType]:
    return reversed(_outermost_first(sys._current_frames().get(ident)))


def thread_calls(task: trio.lowlevel.Task) -> list[bool]:
    """For each `to_thread.run_sync` the task is in, outermost first: does it wait for its thread (True) or serve it?

    A call serves its thread while it runs a function for `from_thread.run`. If the thread has just called that and the
    task has not run since, the answer is still True. Must not be called for the running task.
    """
    if getattr(task.coro, "cr_frame", task) is None:  # it has ended; some versions of Trio cannot inspect that
        return []
    codes = [frame.f_code for frame in await_frames(task)]
    return [inner is _WAITING for outer, inner in pairwise(codes) if outer is _TO_THREAD]


def is_system_task(task: trio.lowlevel.Task) -> bool:
    """Is it a system task? Calls of `from_thread` from a thread with `abandon_on_cancel=True` run in one. It ends with
    the call, so it cannot hold a lock or a core.
    """
    nursery = task.parent_nursery
    return nursery is None or nursery.parent_task.parent_nursery is None


class _Stepped:
    """A coroutine whose first step was run by hand, with the interface of a task for `iter_await_frames`."""

    iter_await_frames = trio.lowlevel.Task.iter_await_frames

    def __init__(self, coro: object) -> None:
        self.coro = coro


def await_frames(task: trio.lowlevel.Task | _Stepped) -> list[FrameType]:
    """The frames a task is in, outermost first.

    For coroutines with an eager first step (`first_step.py`) Python's chain of awaits ends in the generator `rest_of`;
    its variable `coroutine` has the rest. Under a portal of greenback it ends in greenback's shim, and goes on in a
    greenlet, whose last frame has the coroutine that it waits for. (Otherwise the last frame of a waiting task is one
    of Trio's.)
    """
    frames = [frame for frame, _line in task.iter_await_frames()]  # type: ignore[misc]  # it reads nothing but `coro`
    last = frames[-1].f_locals if frames else {}
    rest = last.get("coroutine")
    if "resume_greenlet" in last:
        frames += _outermost_first(last["resume_greenlet"].gr_frame)
        last = frames[-1].f_locals
        rest = last.get("coro", last.get("orig_coro"))
    return frames if rest is None else frames + await_frames(_Stepped(rest))


def _outermost_first(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


class ThreadDetached(Exception):
    """Raised out of `to_thread.run_sync` when `TaskLink.detach` ended it before its thread."""


class TaskLink:
    """The link between the calling thread and the task that waits for it. Made in the thread, used on Trio's thread.

    `to_thread.run_sync` decides at its start whether cancellation may abandon the thread. If it may, `from_thread.run`
    is not cancelled with the call, which most code that waits in a thread needs to end; if it may not, a thread that
    does not end blocks the whole run. This package needs both, so it abandons the thread later, by making the state
    that Trio has after a cancellation abandoned it. That state has no public name. If a version of Trio keeps it
    elsewhere, `found` is False, and a stop waits for the thread.
    """

    __slots__ = ("_locals", "_register", "found")

    _locals: dict[str, object]
    _register: list[trio.lowlevel.Task | None]

    def __init__(self) -> None:
        try:
            data = trio._threads.PARENT_TASK_DATA
            # The dict of a thread-local object belongs to this thread, even when another thread writes to it.
            self._register, self._locals = data.task_register, data.__dict__
            self.found = isinstance(self._register, list) and "token" in self._locals
        except AttributeError:
            self.found = False

    def refuse_calls(self) -> None:
        """Make every later `from_thread` call of this thread raise `trio.RunFinishedError`."""
        self._locals["token"] = _Ended()

    def detach(self, task: trio.lowlevel.Task) -> None:
        """Raise `ThreadDetached` in `task`; Trio drops the thread's late result.

        Only after `refuse_calls`, while the thread still runs its function, and `asks_its_task` is False: then no
        `from_thread` call of the thread is pending, none will come, and `task` waits.
        """
        self._register[0] = None
        trio.lowlevel.reschedule(task, outcome.Value(outcome.Error(ThreadDetached())))


class _Ended:
    """Replaces the thread's `TrioToken`."""

    def run_sync_soon(self, func: Callable[..., object], *args: object) -> None:
        raise trio.RunFinishedError("the runtime that started this thread has stopped and abandoned it")
