"""Calls user code, except for requests and lifespans.

A failure of user code ends its unit of work (`unit.py`) and nothing else: it is separated from a cancellation that may
be in the same exception group (`failures.py`), logged with its traceback and counted. In tests the journal may be
strict, and raises it instead. A cancel scope or a nursery that the code leaves open ends with the unit's task
(`leftovers.py`).

Requests are run by `_apps/asgi.py`, `_apps/wsgi_threads.py` and `_apps/wsgi_inline.py`. They use `Calls.failed` and
`Calls.expired`, but keep one scope for many requests, because a new scope costs as much as a small response. Lifespans
are run by `_apps/lifespan.py`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
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
    from trio_uwsgi._units.member import Member

__all__ = ["Calls", "Result", "SharedScope", "call_here", "call_within"]

# How many `def` RPC functions may be called by each other. Each keeps its thread meanwhile.
MOST_RPC_DEPTH = 32
_RPC_DEPTH: ContextVar[int] = ContextVar("_RPC_DEPTH", default=0)

logger = logging.getLogger("trio_uwsgi")


class Result(NamedTuple):
    """How a unit ended: `returned` is False after a failure or a harakiri; then `value` is None, `error` the cause."""

    returned: bool
    value: Any  # what user code returned
    error: BaseException | None = None


class SharedScope:
    """A cancel scope for many units in sequence, because a new one for each would cost more than most handlers.

    The opener runs units in the block with `Calls.run_under` as long as it is `usable`, and calls `Calls.block_ended`
    after the block. A scope in which a unit left something open (`left_open`) is replaced, with its task: see
    `leftovers.py`.
    """

    __slots__ = ("_fence", "running", "scope", "unit")

    _fence: Fence

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.unit: Unit  # the current unit, or the last one
        self.running = False  # is it running, or was it cancelled?

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Enter the scope for the duration of the block."""
        with fenced(self.scope) as self._fence:
            yield

    @property
    def task(self) -> trio.lowlevel.Task:
        """The task that entered the scope."""
        return self._fence.task

    @property
    def usable(self) -> bool:
        """Can another unit be run under the scope?"""
        return not self.scope.cancel_called and self.task._cancel_status is self._fence.status

    @property
    def left_open(self) -> bool:
        """After the block: has a unit left a scope or a nursery open in the task?"""
        return self._fence.left_open


class Calls:
    """Runs a member's user code under its unit's scope, in a thread if it is not async, and contains its failures.

    `limit` is the option harakiri in seconds, 0 for none. The counters only grow. A failure of the unit that `retried`
    names is not logged here, because its caller logs each failed attempt in one line.
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
        """Call `func()` as one unit without a time limit, and return its failure instead of logging it."""
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
        """Await `func(*args)` in its own task, so that scopes which it leaves open end with the task."""
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
        """Await `func(*args)` as one unit, under a scope that other units use before and after it.

        The unit has its own context. Its first step is run by hand (`first_step.py`); the deadline is set only if it
        does not end with that step, because a deadline cannot cancel code that does not wait. When the deadline passes,
        the scope's block ends.
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
        """After the block of a scope: report a scope that its last unit left open, and its harakiri if it timed out."""
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
            if self.member.killed:  # work that it got in the step in which it died is not begun
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
        if journal.remembers or what != self.retried:  # tests get every failure
            journal.failed(self.member.name, what, error)

    def expired(self, unit: Unit, where: str) -> Harakiri:
        """Count and log that the unit passed its deadline, at the await or line `where`; returns the exception."""
        self.harakiris += 1
        seconds = trio.current_time() - unit.started
        self.member.journal.note(self.member.name, f"{unit.what} harakiri")
        harakiri = Harakiri(self.member.name, unit.what, seconds, where)
        logger.error("%s", harakiri)
        return harakiri


def _plain(value: object, func: Callable[..., object]) -> object:
    """Check the value that a `def` returned: a coroutine is refused, because nothing would run it."""
    if inspect.iscoroutine(value):
        value.close()
        name = getattr(func, "__qualname__", repr(func))
        raise TypeError(f"{name} is not async, but it returned a coroutine, which was not run; make it `async def`")
    return value


async def call_within(unit: Unit, function: RpcFunction, args: Sequence[object]) -> object:
    """Call user code as a part of a running unit. The caller handles what it raises.

    An `async def` is awaited here, a `def` runs in one of the member's RPC threads. One that another `def` calls never
    waits for a thread, because those that wait for it may have them all.
    """
    func = function.func
    if function.is_async:
        return await cast("Awaitable[object]", func(*args))
    depth = _next_depth()
    token = _RPC_DEPTH.set(depth)
    try:
        return _plain(await unit.member.rpc_threads.run(func, *args, unit=unit, at_once=depth > 1), func)
    finally:
        _RPC_DEPTH.reset(token)


def call_here(function: RpcFunction, args: Sequence[object]) -> object:
    """As `call_within` for a `def`, in the calling thread, whose synchronous code it is a part of."""
    token = _RPC_DEPTH.set(_next_depth())
    try:
        return _plain(function.func(*args), function.func)
    finally:
        _RPC_DEPTH.reset(token)


def _next_depth() -> int:
    depth = _RPC_DEPTH.get()
    if depth == MOST_RPC_DEPTH:
        raise RecursionError(f"RPC functions call each other more than {MOST_RPC_DEPTH} deep")
    return depth + 1
