"""Runs exchanges in a pool of Trio tasks; an exchange that waits occupies one task.

Theory. A batch of the reactor begins many exchanges, and most are answered without waiting for anything. So a batch
wakes one runner, which runs one exchange after the other. When one does wait, its runner waits with it (it is an
ordinary Trio task), and wakes others for the rest. An exchange that never waits costs no task switch; the others cost
one, as if each had got its own task at once.

A runner's cancel scope lives as long as its task: a scope per exchange would cost as much as a small response. A scope
that was cancelled, or had a deadline of its own, is replaced before the next exchange. A task in which an exchange has
left something open ends (`_units/leftovers.py`). Every exchange runs in a fresh copy of the worker's context, so
context variables never leak from one to the next.

Subclasses say how an exchange runs: `asgi.py` and `_nodes/server.py`.
"""

from __future__ import annotations

import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from trio_uwsgi._apps.runner_exchange import RunnerExchange
from trio_uwsgi._units.first_step import rest_of
from trio_uwsgi._units.leftovers import Fence, LeftOpen, fenced

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.service import HttpService

# Parked tasks kept for the next burst; tasks beyond this number end after their exchange. One has about 3 KB.
PARKED = 256
# Seconds for which a runner may run without a checkpoint: short compared with the 50 ms within which a timer has to
# fire.
TURN_SECONDS = 0.005


class Runner:
    """One task that runs exchanges, the scope they share, and the exchange that used the scope up, or is running.

    `used` says that this scope was cancelled or got a deadline, even if that was removed later; `returned` that the
    exchange returned, and was not cancelled by it.
    """

    __slots__ = ("driver", "exchange", "returned", "scope", "task", "used", "where")

    def __init__(self, driver: RunnerDriver[Any]) -> None:
        self.driver = driver
        self.exchange: RunnerExchange | None = None
        self.scope = trio.CancelScope()
        self.used = False
        self.returned = False
        self.task: trio.lowlevel.Task
        self.where = ""

    def is_ended(self) -> bool:
        """Was the exchange of this task cancelled as a whole, by its deadline or with the worker?"""
        return self.driver.ending or self.scope.cancel_called

    def abort_park(self, _: Callable[[], None]) -> trio.lowlevel.Abort:
        """Called by Trio if the task is cancelled while it is parked, with its worker."""
        self.driver.parked.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED


E = TypeVar("E", bound=RunnerExchange)


class RunnerDriver(Generic[E]):
    """A `Driver` that runs exchanges in tasks; a subclass says how, in `_run`.

    Begun exchanges wait in `_ready` until the batch that began them is over. `_awake` counts the runners that were
    woken, or run and do not wait inside of an exchange: while there is one, `_ready` will be emptied.
    """

    timeout_reason = "Gateway Timeout"  # the text of the response after the time limit (harakiri)

    def __init__(self) -> None:
        self.parked: list[Runner] = []
        self.ending = False  # `serve` was cancelled, and so is all that runs
        self._ready: deque[E] = deque()
        self._awake = 0
        self._context = contextvars.Context()
        self._nursery: trio.Nursery
        self._service: HttpService

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the tasks of exchanges until cancelled."""
        self._service = service
        self._context = contextvars.copy_context()
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self.ending = True

    def begin(self, exchange: Exchange) -> None:
        """Queue an exchange; it runs after the caller's next checkpoint."""
        self._ready.append(exchange)  # type: ignore[arg-type]  # made by `exchange_type`
        if not self._awake:
            self._wake(1)

    def cancel(self, exchange: Exchange) -> None:
        """Cancel the exchange where it waits."""
        assert isinstance(exchange, RunnerExchange)
        exchange.cancelled = True
        if exchange in self._ready:
            return  # it has not started, and will be skipped
        exchange.runner.used = True
        exchange.runner.scope.cancel()

    def _wake(self, count: int) -> None:
        """Wake this many runners, or start new ones."""
        self._awake += count
        for _ in range(count):
            if self.parked:
                trio.lowlevel.reschedule(self.parked.pop().task)
            else:
                # In a context of its own: the current one may be that of a request.
                self._context.copy().run(self._nursery.start_soon, self._work, Runner(self))

    async def _work(self, runner: Runner) -> None:
        """Run exchanges until enough tasks are parked."""
        runner.task = trio.lowlevel.current_task()
        while True:
            runner.returned = False
            with fenced(runner.scope) as fence:
                await self._run_under_one_scope(runner, fence)
            exchange, runner.exchange = runner.exchange, None
            if exchange is None:
                return
            if exchange.abandoned:
                exchange.drop()
            elif not (runner.returned and exchange.over):  # it was cancelled, or it never began
                exchange.cut(504, self.timeout_reason)
                self._service.calls.expired(exchange, runner.where)
            self._service.ended(exchange)
            if fence.left_open:
                self._awake -= 1
                if self._ready and not self._awake:
                    self._wake(1)
                self._service.calls.failed(exchange, LeftOpen(exchange.what))
                return
            runner.scope = trio.CancelScope()
            runner.used = False

    async def _run_under_one_scope(self, runner: Runner, fence: Fence) -> None:
        """Run exchanges until one has used the scope up (it stays in the runner), or until the task is to end."""
        ready = self._ready
        task = runner.task
        status = fence.status
        service = self._service
        now = service.clock
        turn_ends = now() + TURN_SECONDS
        while True:
            if not ready:
                self._awake -= 1
                if len(self.parked) >= PARKED:
                    return
                self.parked.append(runner)
                task.context = self._context  # frees the context of the last request
                await trio.lowlevel.wait_task_rescheduled(runner.abort_park)
                turn_ends = now() + TURN_SECONDS
                continue
            runner.exchange = exchange = ready.popleft()
            runner.where = "its place in the queue for a task"
            exchange.runner = runner
            # The first step runs in a fresh context by hand: a new context of a task takes effect at its next step.
            task.context = context = self._context.copy()
            coroutine = self._run(runner, exchange)
            try:
                trap = context.run(coroutine.send, None)
            except StopIteration:
                pass
            else:
                await self._wait(coroutine, trap)
            if exchange.cancelled or runner.used or task._cancel_status is not status:
                runner.returned = True
                return
            runner.exchange = None
            service.ended(exchange)
            if now() > turn_ends:
                await trio.lowlevel.checkpoint()
                turn_ends = now() + TURN_SECONDS

    async def _wait(self, coroutine: Coroutine[object, object, None], trap: object) -> None:
        """Wait with an exchange; wake other runners first, if exchanges are waiting to run."""
        self._awake -= 1
        if self._ready and not self._awake:
            self._wake(min(len(self._ready), PARKED))
        try:
            await rest_of(coroutine, trap)
        finally:
            self._awake += 1

    async def _run(self, runner: Runner, exchange: E) -> None:
        """Run one exchange and handle its errors. If it was `cancelled` already, do not call its code."""
        raise NotImplementedError
