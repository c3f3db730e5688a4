"""The one place that calls user code. Floor 2.

What user code does wrong ends its unit (`unit.py`) and nothing else: `except*` takes its failures apart from a
cancellation that may travel in the same group, they are logged with their traceback and counted. In tests the journal
is strict and raises instead.

Requests are entered through `asgi.py` and `wsgi.py`, which use `Calls.failed` and `Calls.expired` from here but keep a
scope alive over many requests, because a new scope costs as much as a small response.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from trio_uwsgi._tasks.journal import sole, summary
from trio_uwsgi._tasks.stuck import location
from trio_uwsgi._tasks.unit import UNIT, Unit
from trio_uwsgi.errors import Harakiri

if TYPE_CHECKING:
    from trio_uwsgi._tasks.unit import Member

__all__ = ["FAILURES", "Calls", "Result", "call_within", "is_async"]

logger = logging.getLogger("trio_uwsgi")


# What ends only the unit that raised it. SystemExit too: sys.exit() in a view would otherwise stop the whole server.
FAILURES = (Exception, SystemExit)


class Result(NamedTuple):
    """How a unit ended: `returned` is False after a failure or a harakiri, and `value` is None then."""

    returned: bool
    value: Any  # what user code returned: nothing is known about it


class Calls:
    """Runs a member's user code: under its unit's scope, in a thread where it is not async, with its failures
    contained.

    `limit` is the option harakiri in seconds, 0 for none. The counters only grow.
    """

    def __init__(self, member: Member, limit: float) -> None:
        self.member = member
        self.limit = limit
        self.done = 0
        self.failures = 0
        self.harakiris = 0

    async def run(
        self, kind: str, name: str, func: Callable[..., object], *args: object, limit: float | None = None
    ) -> Result:
        """Call `func(*args)` as one unit, with `limit` in place of the member's option harakiri where it is given.

        Checkpoints if `func` does; a cancellation from outside passes through.
        """
        where = "?"
        value: object = None
        returned = False
        with trio.CancelScope() as scope:
            unit = Unit(self.member, kind, name, scope, self.limit if limit is None else limit)
            token = UNIT.set(unit)
            try:
                if is_async(func):
                    value = await _awaited(func, args)
                else:
                    value = _plain(await self.member.threads.run(func, *args, unit=unit), func)
                returned = True
            except* FAILURES as group:
                self.failed(unit, sole(group))
            except* trio.Cancelled as group:
                where = location(group)
                raise
            finally:
                UNIT.reset(token)
                unit.end()
        if scope.cancelled_caught:
            self.expired(unit, where)
        elif returned:
            self.done += 1
        return Result(returned, value)

    def failed(self, unit: Unit, error: BaseException) -> None:
        """Count and report that the unit's code raised `error`."""
        self.failures += 1
        self.member.journal.note(self.member.name, f"{unit.what} failed: {summary(error)}")
        self.member.journal.failed(self.member.name, unit.what, error)

    def expired(self, unit: Unit, where: str) -> None:
        """Count and report that the unit passed its deadline; `where` says at which await or line it was."""
        self.harakiris += 1
        seconds = trio.current_time() - unit.started
        self.member.journal.note(self.member.name, f"{unit.what} harakiri")
        logger.error("%s", Harakiri(self.member.name, unit.what, seconds, where))


def is_async(func: Callable[..., object]) -> bool:
    """Is this handler awaited, or does it need a thread? Looks through partials, bound methods and callable objects."""
    while isinstance(func, functools.partial):
        func = func.func
    called = getattr(type(func), "__call__", None)  # noqa: B004  # the method itself is wanted, not whether there is one
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(called)


def _plain(value: object, func: Callable[..., object]) -> object:
    """What a `def` returned, but not the coroutine of an `async def` that it wraps: nobody would ever run that."""
    if inspect.iscoroutine(value):
        value.close()
        name = getattr(func, "__qualname__", repr(func))
        raise TypeError(f"{name} is not async, but it returned a coroutine, which was not run; make it `async def`")
    return value


async def _awaited(func: Callable[..., object], args: tuple[object, ...]) -> object:
    result = func(*args)
    assert isinstance(result, Awaitable)
    return await result


async def call_within(unit: Unit, func: Callable[..., object], args: tuple[object, ...]) -> object:
    """Call user code as a part of a unit that runs already; what it raises is the caller's business.

    An `async def` is awaited here, a `def` runs in one of the member's RPC threads.
    """
    if is_async(func):
        return await _awaited(func, args)
    return _plain(await unit.member.rpc_threads.run(func, *args, unit=unit), func)
