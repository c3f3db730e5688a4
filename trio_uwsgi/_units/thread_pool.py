"""The threads that run a member's synchronous code: WSGI applications and `def` handlers.

Theory. A call of `trio.to_thread.run_sync` finds or starts a thread, wakes it, and blocks a task: 50 us and more. Here
it is called once per *pool thread*: a task stays in that call while its thread runs many jobs. So passing a job to a
thread costs one queue operation; for results the threads share a deque, and wake Trio once per batch.

A job is in one of three places: in `_waiting`, in the queue of a pool thread, or running in the thread. From the first
two it can be taken back atomically. A busy thread takes its next job from `_waiting` itself; everything else is decided
on Trio's thread, so there are no locks.

A job that is cancelled in its thread has `grace` seconds to end: its current and later `from_thread` calls are
cancelled. These are real seconds, whatever Trio's clock is, because user code unwinds in real time. A job that does not
end is abandoned: its `done` is called, the thread counts as `stuck` until its code ends, and another thread replaces
it. The task of an abandoned thread waits for it, which costs nothing, until the pool stops. Deciding what to cancel,
and when, is up to the callers of `cancel`.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import outcome
import trio

from trio_uwsgi._units.leftovers import LeftOpen
from trio_uwsgi._units.pool_thread import AnyJob, Job, PoolThread, take, without_cancelled
from trio_uwsgi._units.stuck import thread_location
from trio_uwsgi._units.trio_threads import ThreadDetached
from trio_uwsgi.errors import ThreadAbandoned, ThreadCancelled

if TYPE_CHECKING:
    from trio_uwsgi._units.unit import Unit

__all__ = ["Job", "ThreadPool", "ThreadStatistics", "pools_of_this_run"]

logger = logging.getLogger("trio_uwsgi")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_POOLS: trio.lowlevel.RunVar[list[ThreadPool]] = trio.lowlevel.RunVar("trio_uwsgi_thread_pools")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStatistics:
    """The numbers of a pool. `size` limits `threads`; of those, `busy` have a job. `waiting` jobs have no thread yet.

    `stuck` threads were abandoned and still run their user code; they do not count as `threads`.
    """

    size: int
    threads: int
    busy: int
    waiting: int
    stuck: int


class ThreadPool:
    """At most `size` threads, started on demand and kept until `serve` is cancelled; more for jobs that may not wait.

    Jobs start in the order of `submit`; of several idle threads the one with the lowest number gets the job. All
    methods are for Trio's thread. While a pool is served, `trio.testing.wait_all_threads_completed` does not return.

    Args:
        size: how many threads there may be, not counting `stuck` ones; > 0.
        name: of the pool, as in `worker1`, for the names of threads and for the log.
        grace: real seconds a cancelled job has to end before its thread is abandoned, >= 0.
    """

    def __init__(self, size: int, name: str, *, grace: float = 0.1) -> None:
        self.size = size
        self.name = name
        self.grace = grace
        self.stuck = 0
        self._jobs: dict[AnyJob, None] = {}  # submitted, `done` not called yet
        # Bounded by the callers: a running request, handler or message has one job.
        self._waiting: deque[AnyJob] = deque()
        self._finished: deque[tuple[AnyJob, outcome.Outcome[Any], PoolThread | None]] = deque()
        self._collect_scheduled = False
        self._pool_threads: dict[int, PoolThread] = {}
        self._idle: list[int] = []  # a heap
        self._abandoned: dict[PoolThread, None] = {}  # stuck, see the module's docstring
        self._limiter = trio.CapacityLimiter(math.inf)  # `size` is the limit
        self._nursery: trio.Nursery | None = None
        self._stopping = False
        self._token: trio.lowlevel.TrioToken

    @property
    def busy(self) -> int:
        """How many threads have a job, not counting `stuck` ones."""
        return len(self._pool_threads) - len(self._idle)

    @property
    def idle(self) -> int:
        """How many threads wait for a job."""
        return len(self._idle)

    def statistics(self) -> ThreadStatistics:
        """The pool's numbers now."""
        return ThreadStatistics(
            size=self.size,
            threads=len(self._pool_threads),
            busy=self.busy,
            waiting=len(self._waiting),
            stuck=self.stuck,
        )

    def __repr__(self) -> str:
        now = f"{self.busy} of {self.size} threads busy, {len(self._waiting)} waiting, {self.stuck} stuck"
        return f"<ThreadPool {self.name}: {now}>"

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the pool until cancelled; then cancel every job, and return when no task waits for a thread any more.

        Idle threads have ended then. A job that does not end within `grace` is abandoned: its thread still counts as
        `stuck`, its later `from_thread` calls raise `trio.RunFinishedError`, and as a daemon thread it does not keep
        the process from exiting. Each `done` is still called, possibly a moment after the return. Once per pool.

        Checkpoint: always. Cancellation: ends it; async code that a thread called may delay it by a shield.
        """
        self._token = trio.lowlevel.current_trio_token()
        watch = _Watch(self)
        _POOLS.set([*_POOLS.get([]), self])
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    trio.lowlevel.add_instrument(watch)
                    self._stop()
        finally:
            trio.lowlevel.remove_instrument(watch)
            _POOLS.set([pool for pool in _POOLS.get() if pool is not self])

    def submit(
        self,
        func: Callable[[*Ts], T],
        *args: *Ts,
        unit: Unit,
        done: Callable[[outcome.Outcome[T]], None],
        at_once: bool = False,
    ) -> Job[T]:
        """Call `func(*args)` in a thread, in a copy of the current context in which `unit` is the current unit.

        Args:
            func: user code; `trio.from_thread` works in it.
            unit: the unit that the call belongs to. A caller has one job per unit at a time; that bounds the queue.
            done: called once with the outcome, on Trio's thread, never before `submit` returned; must not raise or
                wait. After a `cancel` it gets a `ThreadCancelled`, unless the code returned or raised something else in
                time.
            at_once: start a thread beyond `size` if none is free; the job's caller may have the last one.
        Returns:
            The job, to give to `cancel`.
        Raises:
            trio.ClosedResourceError: `serve` is not running.
        Checkpoint: never.
        """
        if self._nursery is None or self._stopping:
            raise trio.ClosedResourceError(f"the threads of {self.name} have been stopped, or not started")
        job: Job[T] = Job(func, args, unit, done)
        self._jobs[job] = None
        if self._idle:
            self._give(self._pool_threads[heapq.heappop(self._idle)], job)
        elif at_once or len(self._pool_threads) < self.size:
            self._start(self._nursery, job)
        else:
            self._waiting.append(job)
        return job

    async def run(self, func: Callable[[*Ts], T], *args: *Ts, unit: Unit, at_once: bool = False) -> T:
        """Call `func(*args)` in a thread, as `submit` does, and return or raise its outcome.

        Checkpoint: always. Cancellation: the job is cancelled as by `cancel`. If it still returned a result, that is
        returned; otherwise `trio.Cancelled` is raised, whose context is a `ThreadCancelled` with the place of the code.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        task = trio.lowlevel.current_task()
        reraise: Callable[[], object] | None = None

        def done(result: outcome.Outcome[T]) -> None:
            trio.lowlevel.reschedule(task, outcome.Value(result))

        def abort(raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
            nonlocal reraise
            reraise = raise_cancel
            self.cancel(job)
            return trio.lowlevel.Abort.FAILED

        job = self.submit(func, *args, unit=unit, done=done, at_once=at_once)
        result: outcome.Outcome[T] = await trio.lowlevel.wait_task_rescheduled(abort)
        try:
            return result.unwrap()
        except ThreadCancelled:
            if reraise is not None:
                reraise()
            raise

    def cancel(self, job: AnyJob, *, abandon: bool = True) -> None:
        """Cancel a job: take it back, cancel its `from_thread` calls, or abandon its thread. Its `done` is called soon.

        A job that has not started is not run. A running one gets `trio.Cancelled` where it waits in
        `from_thread.run`, and from each later call of that or of `from_thread.check_cancelled`; if it has not ended
        after `grace` real seconds, it is abandoned. Without `abandon` it keeps running until it is cancelled again. A
        job that was cancelled or has ended is left alone.

        Checkpoint: never.
        """
        if job.cancelled or job.ended:
            if job.may_go_on and abandon and job.pool_thread is not None:
                job.may_go_on = False
                self._abandon_after_grace(job, job.pool_thread)
            return
        if self._take_back(job):
            job.cancelled = True
            self._report(
                job, outcome.Error(ThreadCancelled(job.unit.what, "its place in the queue for a thread")), None
            )
        elif job.pool_thread is None:  # a thread has just taken it and has not set `pool_thread` yet
            self._token.run_sync_soon(partial(self.cancel, job, abandon=abandon))
        elif job.pool_thread.stop(job):
            job.cancelled = True
            job.may_go_on = not abandon
            if abandon:
                self._abandon_after_grace(job, job.pool_thread)

    def threads_running_code(self) -> Iterator[bool]:
        """For each job: does a thread run it now, or is about to, instead of waiting in `from_thread`?

        False for jobs in `_waiting`. Also False for a job that a thread has just taken, before `pool_thread` is set:
        the thread has not reported its previous job yet, which then stands for both. A thread that has no job and is
        not idle is starting or ending, and counts as running code.
        """
        between = {pool_thread for number, pool_thread in self._pool_threads.items() if number not in self._idle}
        for job in self._jobs:
            between.discard(job.pool_thread)
            yield job.pool_thread is not None and job.pool_thread.runs_code()
        yield bool(between)

    def tasks(self) -> list[trio.lowlevel.Task]:
        """The tasks that wait for the pool's threads, including `stuck` ones."""
        pool_threads = [*self._pool_threads.values(), *self._abandoned]
        return [pool_thread.task for pool_thread in pool_threads if pool_thread.task is not None]

    def _start(self, nursery: trio.Nursery, job: AnyJob) -> None:
        """Start a pool thread with the lowest free number, for this job."""
        number = next(n for n in range(1, len(self._pool_threads) + 2) if n not in self._pool_threads)
        pool_thread = self._pool_threads[number] = PoolThread(number, f"{self.name}-{number}")
        self._give(pool_thread, job)
        nursery.start_soon(self._run_thread, nursery, pool_thread, name=f"thread {pool_thread.name}")

    async def _run_thread(self, nursery: trio.Nursery, pool_thread: PoolThread) -> None:
        try:
            with contextlib.suppress(ThreadDetached):
                while await pool_thread.run_jobs(self._waiting, self._report, self._limiter):
                    if pool_thread.fence.left_open:
                        unit = pool_thread.last
                        unit.member.journal.failed(unit.member.name, unit.what, LeftOpen(unit.what))
                    if self._stopping or pool_thread in self._abandoned or pool_thread.fence.left_open:
                        break
                    self._free(pool_thread)
        finally:
            self._abandoned.pop(pool_thread, None)
            if self._pool_threads.get(pool_thread.number) is pool_thread:
                del self._pool_threads[pool_thread.number]
                free = len(self._pool_threads) < self.size
                if free and not self._stopping and (following := take(self._waiting)) is not None:
                    self._start(nursery, following)

    def _give(self, pool_thread: PoolThread, job: AnyJob) -> None:
        job.pool_thread = pool_thread
        pool_thread.queue.put(job)

    def _free(self, pool_thread: PoolThread) -> None:
        """The thread has no job: give it the next one, or mark it as idle."""
        if self._stopping or pool_thread.number > self.size:
            pool_thread.queue.put(None)
        elif (job := take(self._waiting)) is not None:
            self._give(pool_thread, job)
        else:
            heapq.heappush(self._idle, pool_thread.number)

    def _take_back(self, job: AnyJob) -> bool:
        """Take back a job that no thread has begun; False if one has."""
        if job.pool_thread is None:
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
                return True
        else:
            with contextlib.suppress(Empty):
                job.pool_thread.queue.get_nowait()
                self._free(job.pool_thread)
                return True
        return False

    def _report(self, job: AnyJob, result: outcome.Outcome[Any], idle: PoolThread | None) -> None:
        """On any thread: pass the outcome of a job to `_collect`."""
        self._finished.append((job, result, idle))
        if not self._collect_scheduled:
            self._collect_scheduled = True  # two threads may both get here; an extra wake-up is harmless
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._collect)

    def _collect(self) -> None:
        # Cleared first: a thread that reports from here on wakes Trio again, so this round can be bounded.
        self._collect_scheduled = False
        finished = self._finished
        for _ in range(len(finished)):
            job, result, idle = finished.popleft()
            try:
                self._deliver(job, result)
            except BaseException:  # a bug, or a strict journal: Trio ends the run, which waits for all threads
                self._token.run_sync_soon(self._collect)
                raise
            finally:
                if idle is not None:
                    self._free(idle)

    def _deliver(self, job: AnyJob, result: outcome.Outcome[Any]) -> None:
        if job.done is not None:
            del self._jobs[job]
            done, job.done = job.done, None
            done(without_cancelled(job, result))
        else:  # an abandoned job is reported twice; `done` was called with the first report
            self.stuck -= 1
            seconds = trio.current_time() - job.abandoned
            logger.warning("%s: the abandoned thread of %s ended %.1f s later", self.name, job.unit.what, seconds)

    def _abandon_after_grace(self, job: AnyJob, pool_thread: PoolThread) -> None:
        """Check the job again when it has ended, or after `grace` real seconds, in a thread of Trio's cache."""

        def over(_result: outcome.Outcome[bool]) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._abandon, job, pool_thread)

        trio.lowlevel.start_thread_soon(lambda: pool_thread.unwound.wait(self.grace), over, name=f"{self.name}-grace")

    def _abandon(self, job: AnyJob, pool_thread: PoolThread) -> None:
        """Abandon the job's thread, unless its code has ended. It takes no other job, because `exiting` is set."""
        if job.ended:
            return
        where = thread_location(pool_thread.ident)
        job.abandoned = trio.current_time()
        self.stuck += 1
        self._abandoned[pool_thread] = None
        del self._pool_threads[pool_thread.number]
        self._report(job, outcome.Error(ThreadAbandoned(job.unit.what, where)), None)
        message = "%s: %s was cancelled but its thread is still running at %s (stuck threads: %d)"
        logger.warning(message, self.name, job.unit.what, where, self.stuck)
        if self._stopping:
            self._detach(pool_thread)
        elif self._nursery is not None and (following := take(self._waiting)) is not None:
            self._start(self._nursery, following)

    def _stop(self) -> None:
        self._stopping = True
        for number in self._idle:
            self._pool_threads[number].queue.put(None)
        self._idle.clear()
        for job in list(self._jobs):
            self.cancel(job)
        for pool_thread in list(self._abandoned):
            self._detach(pool_thread)

    def _detach(self, pool_thread: PoolThread) -> None:
        if pool_thread.task_link.found:
            pool_thread.detach(self._token)
        else:
            logger.warning("%s: with this version of Trio a thread cannot be abandoned; waiting for it", self.name)

    def watched(self, task: trio.lowlevel.Task) -> None:
        """While the pool stops: `task` took a step, perhaps the last one of a function that a thread called."""
        for pool_thread in self._abandoned:
            if pool_thread.task is task and pool_thread.task_link.found:
                self._token.run_sync_soon(pool_thread.detach, self._token)


class _Watch(trio.abc.Instrument):
    """Reports every step of a task to a stopping pool: there is no other way to notice that a task waits again."""

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._pool.watched(task)


def pools_of_this_run() -> list[ThreadPool]:
    """The pools that are being served in the current run of Trio."""
    return _POOLS.get([])
