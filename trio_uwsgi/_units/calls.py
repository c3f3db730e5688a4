"""Calls user code, but for requests and lifespans.

What user code does wrong ends its unit (`unit.py`) and nothing else: its failures are told apart from a cancellation
that may travel in the same group (`failures.py`), logged with their traceback and counted. In tests the journal is
strict and raises instead. A cancel scope or a nursery that it leaves open ends with the unit's task (`leftovers.py`).

Requests are entered through `asgi.py`, `wsgi_threads.py` and `wsgi_inline.py`, which use `Calls.failed` and
`Calls.expired` from here but keep a scope alive over many requests, because a new scope costs as much as a small
response; a lifespan is run by `lifespan.py`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import trio

from trio_uwsgi._units.asynchrony import is_async
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.first_step import rest_of
from trio_uwsgi._units.journal import summary
from trio_uwsgi._units.leftovers import Fence, LeftOpen, fenced, in_own_task
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.errors import Harakiri

if TYPE_CHECKING:
    from trio_uwsgi._nodes.rpc_functions import RpcFunction
    from trio_uwsgi._units.unit import Member

__all__ = ["Calls", "Result", "SharedScope", "call_within"]

logger = logging.getLogger("trio_uwsgi")


class Result(NamedTuple):
    """How a unit ended: `returned` is False after a failure or a harakiri; `value` is None then, `error` says why."""

    returned: bool
    value: Any  # what user code returned: nothing is known about it
    error: BaseException | None = None


class SharedScope:
    """A cancel scope for one unit after the other, as a new one for each would cost more than most handlers.

    The opener runs units in the block with `Calls.run_under` as long as it is `usable`, and calls `Calls.block_ended`
    after the block. A scope in which a unit left something open (`left_open`) is replaced, with its task: see
    `leftovers.py`.
    """

    __slots__ = ("_fence", "running", "scope", "unit")

    _fence: Fence

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.unit: Unit  # which runs, or was the last
        self.running = False  # whether it runs, or was cut off

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Have the scope around the body."""
        with fenced(self.scope) as self._fence:
            yield

    @property
    def task(self) -> trio.lowlevel.Task:
        """Whose scope it is."""
        return self._fence.task

    @property
    def usable(self) -> bool:
        """May another unit be run under it?"""
        return not self.scope.cancel_called and self.task._cancel_status is self._fence.status

    @property
    def left_open(self) -> bool:
        """Behind the block: has a unit left something open in the task?"""
        return self._fence.left_open


class Calls:
    """Runs a member's user code: under its unit's scope, in a thread where it is not async, with its failures
    contained.

    `limit` is the option harakiri in seconds, 0 for none. The counters only grow. `again` is what has failed before, if
    anything: whoever runs that says in a line of its own that it failed again.
    """

    def __init__(self, member: Member, limit: float) -> None:
        self.member = member
        self.limit = limit
        self.retried = ""
        self.done = 0
        self.failures = 0
        self.harakiris = 0

    async def run(
        self, kind: str, name: str, func: Callable[..., object], *args: object, limit: float | None = None
    ) -> Result:
        """Call `func(*args)` as one unit, with `limit` in place of the member's option harakiri where it is given.

        Checkpoints if `func` does; a cancellation from outside passes through.
        """
        result = Result(False, None)
        with trio.CancelScope() as scope:
            unit = Unit(self.member, kind, name, scope, self.limit if limit is None else limit)
            scope.deadline = unit.option_deadline
            if is_async(func):
                result = await self._in_own_task(unit, func, args)
            else:
                result = await self._contained(unit, func, args, False)
        if scope.cancelled_caught:
            return Result(False, None, self.expired(unit, unit.where))
        self.done += result.returned
        return result

    async def run_bare(self, kind: str, name: str, func: Callable[[], object]) -> BaseException | None:
        """Call `func()` as one unit without a time limit, and give back what it failed with, which is the caller's
        business.
        """
        failure: BaseException | None = None

        async def run() -> None:
            nonlocal failure
            UNIT.set(unit)
            try:
                if is_async(func):
                    await cast("Awaitable[object]", func())
                else:
                    _plain(await self.member.threads.run(func, unit=unit), func)
            except BaseException as error:
                failure, passing = split_failure(error)
                if passing is not None:
                    raise passing from passing.__cause__
            finally:
                unit.end()

        with trio.CancelScope() as scope:
            unit = Unit(self.member, kind, name, scope, 0)
            left_open = await in_own_task(run, unit.what)
        return failure or (LeftOpen(unit.what) if left_open else None)

    async def _in_own_task(self, unit: Unit, func: Callable[..., object], args: tuple[object, ...]) -> Result:
        """Await `func(*args)` in a task of its own: what it leaves open there is gone with it."""
        result = Result(False, None)

        async def run() -> None:
            nonlocal result
            UNIT.set(unit)
            result = await self._contained(unit, func, args, True)

        if not await in_own_task(run, unit.what):
            return result
        error = LeftOpen(unit.what)
        self.failed(unit, error)
        return Result(False, None, result.error or error)

    async def run_under(
        self, shared: SharedScope, kind: str, name: str, func: Callable[..., object], *args: object
    ) -> Result:
        """Await `func(*args)` as one unit, under a scope that others had, and will have unless it is cancelled then.

        The unit has a context of its own. Its first step is run by hand, and only if it waits it has a deadline:
        before, nothing could be ended by one. Its time being up ends the scope's block.
        """
        scope, task = shared.scope, shared.task
        shared.unit = unit = Unit(self.member, kind, name, scope, self.limit)
        shared.running = True
        base = task.context
        context = base.copy()
        context.run(UNIT.set, unit)
        coroutine = self._contained(unit, func, args, True)
        try:
            trap = context.run(coroutine.send, None)
        except StopIteration as end:
            result: Result = end.value
            if scope.deadline != math.inf:
                scope.deadline = math.inf
        else:
            task.context = context  # takes effect with the task's next step
            unit.set_user_deadline(unit.user_deadline)
            try:
                result = await rest_of(coroutine, trap)
            finally:
                task.context = base
            scope.deadline = math.inf
        shared.running = False
        self.done += result.returned
        return result

    def block_ended(self, shared: SharedScope) -> Harakiri | None:
        """Behind the block of a scope: report what its last unit left open; and that its time was up, if it was."""
        if shared.left_open:
            self.failed(shared.unit, LeftOpen(shared.unit.what))
        if shared.running and shared.scope.cancel_called:
            shared.running = False
            return self.expired(shared.unit, shared.unit.where)
        return None

    async def _contained(
        self, unit: Unit, func: Callable[..., object], args: tuple[object, ...], awaited: bool
    ) -> Result:
        try:
            if self.member.killed:  # what was handed to it in the step in which it died is not begun
                await trio.lowlevel.checkpoint_if_cancelled()
            if awaited:
                value = await cast("Awaitable[object]", func(*args))
            else:
                value = _plain(await self.member.threads.run(func, *args, unit=unit), func)
            return Result(True, value)
        except BaseException as error:
            failure, passing = split_failure(error)
            if passing is not None:
                unit.where = location(passing)
            if failure is not None:
                self.failed(unit, failure)
            if passing is not None:
                raise passing from passing.__cause__
            return Result(False, None, failure)
        finally:
            unit.end()

    def failed(self, unit: Unit, error: BaseException) -> None:
        """Count and report that the unit's code raised `error`."""
        self.report(unit.what, error)

    def report(self, what: str, error: BaseException) -> None:
        """Count and report that user code raised `error`."""
        journal = self.member.journal
        self.failures += 1
        journal.note(self.member.name, f"{what} failed: {summary(error)}")
        if journal.remembers or what != self.retried:  # a test hears of each
            journal.failed(self.member.name, what, error)

    def expired(self, unit: Unit, where: str) -> Harakiri:
        """Count, report and give back that the unit passed its deadline; `where` says at which await or line it was."""
        self.harakiris += 1
        seconds = trio.current_time() - unit.started
        self.member.journal.note(self.member.name, f"{unit.what} harakiri")
        harakiri = Harakiri(self.member.name, unit.what, seconds, where)
        logger.error("%s", harakiri)
        return harakiri


def _plain(value: object, func: Callable[..., object]) -> object:
    """What a `def` returned, but not the coroutine of an `async def` that it wraps: nobody would ever run that."""
    if inspect.iscoroutine(value):
        value.close()
        name = getattr(func, "__qualname__", repr(func))
        raise TypeError(f"{name} is not async, but it returned a coroutine, which was not run; make it `async def`")
    return value


async def call_within(unit: Unit, function: RpcFunction, args: tuple[object, ...]) -> object:
    """Call user code as a part of a unit that runs already; what it raises is the caller's business.

    An `async def` is awaited here, a `def` runs in one of the member's RPC threads.
    """
    func = function.func
    if function.is_async:
        return await cast("Awaitable[object]", func(*args))
    return _plain(await unit.member.rpc_threads.run(func, *args, unit=unit), func)
