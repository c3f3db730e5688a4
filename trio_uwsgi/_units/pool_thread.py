"""One thread of a pool, the task that waits for it, and the jobs that are passed between them.

The thread runs inside of one long `trio.to_thread.run_sync` call of the task. So `trio.from_thread.run` works in user
code; what it calls runs in that task, inside of its scope. `thread_pool.py` assigns jobs to threads and handles
cancelled jobs.
"""

from __future__ import annotations

import contextvars
import math
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import outcome
import trio

from trio_uwsgi._system.forks import end_forked_child, forks_to_here
from trio_uwsgi._units.leftovers import Fence, fenced
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.trio_threads import TaskLink, asks_its_task, thread_calls
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.errors import ThreadCancelled

T = TypeVar("T")


class Job(Generic[T]):
    """One call of user code, from `submit` until its `done` was called."""

    __slots__ = (
        "abandoned",
        "args",
        "cancelled",
        "context",
        "done",
        "ended",
        "func",
        "may_go_on",
        "pool_thread",
        "unit",
    )

    def __init__(
        self, func: Callable[..., T], args: tuple[object, ...], unit: Unit, done: Callable[[outcome.Outcome[T]], None]
    ) -> None:
        self.func = func
        self.args = args
        self.unit = unit
        self.done: Callable[[outcome.Outcome[T]], None] | None = done  # None after it was called
        self.context = contextvars.copy_context()
        self.context.run(UNIT.set, unit)
        self.pool_thread: PoolThread | None = None
        self.ended = False  # written by the thread: user code has ended
        self.cancelled = False
        self.may_go_on = False  # cancelled, but not to be abandoned
        self.abandoned = math.nan  # when it was abandoned, on Trio's clock


AnyJob: TypeAlias = Job[Any]  # the type of a job's result does not matter to a pool
# What a thread reports: a job, its outcome, and the pool thread if that is idle now.
Report: TypeAlias = "Callable[[AnyJob, outcome.Outcome[Any], PoolThread | None], None]"


class PoolThread:
    """A task, the thread that it waits for, and the queue between them. For Trio's thread, except `work`."""

    __slots__ = (
        "ended",
        "exiting",
        "fence",
        "ident",
        "last",
        "name",
        "number",
        "queue",
        "scope",
        "task",
        "task_link",
        "unwound",
    )

    fence: Fence  # around functions that the thread runs in the task by `from_thread`
    last: Unit  # the last unit that the thread ran; written by the thread
    task_link: TaskLink  # set when the thread has started, so before it runs its first job

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.task: trio.lowlevel.Task | None = None  # until it has started
        # At most one job, and in the end None, which stops the thread.
        self.queue: SimpleQueue[AnyJob | None] = SimpleQueue()
        self.scope = trio.CancelScope(shield=True)
        self.ident = 0  # until the thread has started
        self.exiting = False  # the thread must not take another job
        self.ended = False  # written by the thread when it leaves `work`; also set when the thread is detached
        self.unwound = threading.Event()

    async def run_jobs(self, waiting: deque[AnyJob], report: Report, limiter: trio.CapacityLimiter) -> bool:
        """Run a thread inside of a new scope. Returns False after the thread was stopped; True after a job that was
        cancelled or left a scope open in the task, when the thread can be run again.
        """
        self.task = trio.lowlevel.current_task()
        self.exiting = self.ended = False
        self.ident = 0
        again = False
        # Shielded: when the pool is cancelled, it cancels its jobs one by one.
        self.scope = trio.CancelScope(shield=True)
        with fenced(self.scope) as self.fence:
            again = await trio.to_thread.run_sync(self.work, waiting, report, thread_name=self.name, limiter=limiter)
        return again

    def work(self, waiting: deque[AnyJob], report: Report) -> bool:
        """In the thread: run jobs, from the queue or, after a job, the one that has waited longest."""
        self.ident = threading.get_ident()
        self.task_link = TaskLink()
        try:
            while True:
                job = self.queue.get()
                if job is None:
                    return False
                while job is not None:
                    job.pool_thread = self
                    forks = forks_to_here()
                    result = outcome.capture(job.context.run, job.func, *job.args)
                    if forks_to_here() != forks:
                        end_forked_child(result.error if isinstance(result, outcome.Error) else None)
                    job.ended = True  # before `exiting` is read: see `stop`
                    self.last = job.unit
                    # The task waits for this thread, so only the thread's jobs can have left a scope open in it.
                    if self.exiting or self.fence.task._cancel_status is not self.fence.status:
                        report(job, result, None)
                        return True
                    following = take(waiting)
                    report(job, result, self if following is None else None)
                    job = following
                    del result  # do not keep the result alive until the next job
        finally:
            self.ended = True
            self.unwound.set()

    def stop(self, job: AnyJob) -> bool:
        """Make the thread end after this job, and cancel its `from_thread` calls; False if the job has ended already.

        The thread writes `ended` and then reads `exiting`; here the order is reversed. So either the thread sees
        `exiting`, or this method sees `ended` and does not cancel, because the thread may run another job by now.
        """
        self.unwound.clear()
        self.exiting = True
        if job.ended:
            self.exiting = False
            return False
        self.scope.cancel()
        return True

    def runs_code(self) -> bool:
        """Is the thread running user code, or about to, and not waiting in `from_thread`?"""
        return self.task is None or not self.ident or thread_calls(self.task)[:1] != [False]

    def detach(self, token: trio.lowlevel.TrioToken) -> None:
        """End the task while its thread keeps running, now or as soon as no `from_thread` call of it is pending.

        If the task is running a function for the thread, inside of a shield of the user's, this does nothing; call
        again after the task's next step.
        """
        if self.ended or self.task is None:
            return
        self.task_link.refuse_calls()
        if not asks_its_task(self.ident):
            self.ended = True
            self.task_link.detach(self.task)
        elif self.runs_code():
            # A call or its result is being passed between the threads, which takes microseconds.
            token.run_sync_soon(self.detach, token)


def take(waiting: deque[AnyJob]) -> AnyJob | None:
    """The job that has waited longest; None if there is none. For any thread: `popleft` is atomic."""
    try:
        return waiting.popleft()
    except IndexError:
        return None


def without_cancelled(job: AnyJob, result: outcome.Outcome[Any]) -> outcome.Outcome[Any]:
    """The result with `ThreadCancelled` in place of `trio.Cancelled`, which must not leave its own scope.

    In a group with other errors, only the others are kept.
    """
    error = result.error if isinstance(result, outcome.Error) else None
    if isinstance(error, trio.Cancelled):
        rest = None
    elif isinstance(error, BaseExceptionGroup):
        rest = error.split(trio.Cancelled)[1]
    else:
        return result
    return outcome.Error(rest if rest is not None else ThreadCancelled(job.unit.what, location(error)))
