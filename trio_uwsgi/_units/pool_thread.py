"""One thread of a pool, the task that carries it, and the jobs that go from one to the other.

The thread belongs to one long `trio.to_thread.run_sync` of the task, so `trio.from_thread.run` works in user code, and
what it asks for runs in that task under the carrier's scope. Who gets which job, and what becomes of a job that was
cancelled, is decided in `thread_pool.py`.
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
        self.done: Callable[[outcome.Outcome[T]], None] | None = done  # None once it was called
        self.context = contextvars.copy_context()
        self.context.run(UNIT.set, unit)
        self.pool_thread: PoolThread | None = None
        self.ended = False  # written by the thread: user code is over
        self.cancelled = False
        self.may_go_on = False  # cancelled, but not to be left behind
        self.abandoned = math.nan  # when; on Trio's clock


AnyJob: TypeAlias = Job[Any]  # a pool does not care what its jobs return
# What a thread reports: a job, what came of it, and the carrier if it has nothing more to do.
Report: TypeAlias = "Callable[[AnyJob, outcome.Outcome[Any], PoolThread | None], None]"


class PoolThread:
    """A task, the thread it waits for, and the queue from one to the other. For Trio's thread, but for `work`."""

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

    fence: Fence  # around what threads have asked of the task
    last: Unit  # that the thread ran; written by the thread
    task_link: TaskLink  # once the thread has started, and so whenever it has a job to be stuck in

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.task: trio.lowlevel.Task | None = None  # until it has started
        # At most one job, and then the None that ends the thread.
        self.queue: SimpleQueue[AnyJob | None] = SimpleQueue()
        self.scope = trio.CancelScope(shield=True)
        self.ident = 0  # until the thread has started
        self.exiting = False  # take no other job
        self.ended = False  # written by the thread: it is out of `work`. Also: nobody waits for it any more
        self.unwound = threading.Event()

    async def run_jobs(self, waiting: deque[AnyJob], report: Report, limiter: trio.CapacityLimiter) -> bool:
        """Run a thread under a new scope until it was told to end (False), or has left (True) after a job that was
        cancelled, or asked the task for something which left a scope open.
        """
        self.task = trio.lowlevel.current_task()
        self.exiting = self.ended = False
        self.ident = 0
        again = False
        # Shielded: a cancel from outside is for the pool, which cancels the jobs one by one.
        self.scope = trio.CancelScope(shield=True)
        with fenced(self.scope) as self.fence:
            again = await trio.to_thread.run_sync(self.work, waiting, report, thread_name=self.name, limiter=limiter)
        return again

    def work(self, waiting: deque[AnyJob], report: Report) -> bool:
        """In the thread: do one job after another, from the queue or, in between, whatever has waited longest."""
        self.ident = threading.get_ident()
        self.task_link = TaskLink()
        try:
            while True:
                job = self.queue.get()
                if job is None:
                    return False
                while job is not None:
                    job.pool_thread = self
                    result = outcome.capture(job.context.run, job.func, *job.args)
                    job.ended = True  # before `exiting` is read: see `stop`
                    self.last = job.unit
                    # The task waits for this thread, so its scopes are what the jobs have made of them.
                    if self.exiting or self.fence.task._cancel_status is not self.fence.status:
                        report(job, result, None)
                        return True
                    following = take(waiting)
                    report(job, result, self if following is None else None)
                    job = following
                    del result  # what user code returned or raised must not live until the next job
        finally:
            self.ended = True
            self.unwound.set()

    def stop(self, job: AnyJob) -> bool:
        """Have the thread end after this job, and cancel its waits in `from_thread`; False if the job is over already.

        The thread writes `ended` and then reads `exiting`; here it is the other way round. So either the thread sees
        that it must leave, or it is seen here that it may have gone on to another job, which must not be cancelled.
        """
        self.unwound.clear()
        self.exiting = True
        if job.ended:
            self.exiting = False
            return False
        self.scope.cancel()
        return True

    def runs_code(self) -> bool:
        """Is the thread running user code, or about to, and not waiting for something it asked of Trio?"""
        return self.task is None or not self.ident or thread_calls(self.task)[:1] != [False]

    def detach(self, token: trio.lowlevel.TrioToken) -> None:
        """End the task while its thread goes on, now or as soon as no question of the thread is on its way.

        If the task serves the thread, under a shield of the user's own, this does nothing: call again after the task's
        next step.
        """
        if self.ended or self.task is None:
            return
        self.task_link.refuse_calls()
        if not asks_its_task(self.ident):
            self.ended = True
            self.task_link.detach(self.task)
        elif self.runs_code():
            # The question, the answer or the refusal is under way: a matter of microseconds.
            token.run_sync_soon(self.detach, token)


def take(waiting: deque[AnyJob]) -> AnyJob | None:
    """The job that has waited longest; None if there is none. On any thread: to take is atomic."""
    try:
        return waiting.popleft()
    except IndexError:
        return None


def without_cancelled(job: AnyJob, result: outcome.Outcome[Any]) -> outcome.Outcome[Any]:
    """The result as it may leave the thread: `ThreadCancelled` for `trio.Cancelled`, which belongs to its scope's task.

    From a group of it with other errors, the others are left.
    """
    error = result.error if isinstance(result, outcome.Error) else None
    if isinstance(error, trio.Cancelled):
        rest = None
    elif isinstance(error, BaseExceptionGroup):
        rest = error.split(trio.Cancelled)[1]
    else:
        return result
    return outcome.Error(rest if rest is not None else ThreadCancelled(job.unit.what, location(error)))
