"""The one place that calls user code. Floor 2.

Theory. A *unit* of work is one request, one run of a signal handler, one mule message, one run of a mule's program. It
has one cancel scope, and that scope is its harakiri: the option deadline (`Config.harakiri`, counted from the start of
the unit) and the user deadline (`set_user_harakiri`, counted from the call) are both kept, and the scope's deadline is
the earlier one. The unit is found from anywhere below through one `ContextVar`, so child tasks and threads of the unit
reach it too.

What user code does wrong ends its unit and nothing else: `except* Exception` takes its errors apart from a cancellation
that may travel in the same group, they are logged with their traceback and counted. In tests the journal is strict and
raises instead.

Requests are entered through `asgi.py` and `wsgi.py`, which use `Unit` and `Calls.failed` / `Calls.expired` from here
but keep a scope alive over many requests, because a new scope costs as much as a small response.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import trio

from trio_uwsgi.errors import Harakiri, ThreadCancelled

if TYPE_CHECKING:
    from trio_uwsgi._core.registry import Registry
    from trio_uwsgi._tasks.inbox import Inbox
    from trio_uwsgi._tasks.link import Link
    from trio_uwsgi._tasks.sources import MemberTimers
    from trio_uwsgi._tasks.threads import ThreadPool

logger = logging.getLogger("trio_uwsgi")


class Event(NamedTuple):
    """One line of a runtime's event log.

    `time` is in seconds since the runtime started, on Trio's clock; `member` is `master`, `worker1`, `mule2`, ...;
    `what` is a short sentence that starts with a noun: `signal 17`, `request GET /`, `signal 17 harakiri`.
    """

    time: float
    member: str
    what: str


class Journal(Protocol):
    """Where a runtime says what happened. `serve` gives one that logs; `trio_uwsgi.testing` gives one that also
    remembers.
    """

    remembers: bool  # False: `note` does nothing, and need not be called for each request

    def note(self, member: str, what: str) -> None:
        """Remember that `what` happened to `member`."""

    def failed(self, member: str, what: str, error: BaseException) -> None:
        """User code raised `error`. A strict journal raises it again."""


class LoggingJournal:
    """The journal of a serving process: failures go to the log with their traceback, the rest is left to whoever logs
    it.
    """

    remembers = False

    def note(self, member: str, what: str) -> None:
        pass

    def failed(self, member: str, what: str, error: BaseException) -> None:
        logger.error("%s: %s failed: %s", member, what, summary(error), exc_info=error)


class Member:
    """Who runs user code: one worker or one mule, as the code it runs sees it. Made by a placement, one per life.

    `threads` runs the member's `def` handlers; `link` leads to the master.
    """

    __slots__ = ("inbox", "journal", "kind", "link", "name", "number", "registry", "threads", "timers", "wall_now")

    def __init__(
        self, kind: str, number: int, registry: Registry, journal: Journal, wall_now: Callable[[], float]
    ) -> None:
        self.kind = kind
        self.number = number
        self.name = f"{kind}{number}" if number else kind
        self.registry = registry
        self.journal = journal
        self.wall_now = wall_now
        self.link: Link
        self.threads: ThreadPool
        self.inbox: Inbox
        self.timers: MemberTimers


class Unit:
    """One piece of user code while it runs, with its deadlines. The scope is entered by whoever made the unit."""

    __slots__ = ("_limits", "kind", "member", "name", "option_deadline", "scope", "started", "user_deadline")

    _limits: list[float]

    def __init__(self, member: Member, kind: str, name: str, scope: trio.CancelScope, limit: float) -> None:
        self.member = member
        self.kind = kind
        self.name = name
        self.scope = scope
        self.started = trio.current_time()
        self.option_deadline = self.started + limit if limit else math.inf
        self.user_deadline = math.inf
        scope.deadline = self.option_deadline

    @property
    def what(self) -> str:
        """The unit in words, for logs: `signal 17`."""
        return f"{self.kind} {self.name}" if self.name else self.kind

    def set_user_deadline(self, deadline: float) -> None:
        """Set the user's own deadline; `inf` clears it. The option's deadline stays in force, as in uWSGI."""
        self.user_deadline = deadline
        self.scope.deadline = min(self.option_deadline, deadline)

    def limit(self, deadline: float) -> None:
        """Replace the deadline that the unit's code gave itself outside of blocks; `inf` takes it away."""
        limits = self._own_limits()
        limits[0] = deadline
        self.set_user_deadline(min(limits))

    def enter_block(self, deadline: float) -> None:
        """Code with a deadline of its own begins."""
        limits = self._own_limits()
        limits.append(deadline)
        self.set_user_deadline(min(limits))

    def leave_block(self, deadline: float) -> None:
        """It ends. If it is late, its deadline stays: it kept Trio from noticing, and the unit is ended now."""
        if trio.current_time() <= deadline:
            limits = self._own_limits()
            del limits[limits.index(deadline, 1)]
            self.set_user_deadline(min(limits))

    def _own_limits(self) -> list[float]:
        """The deadline outside of blocks, then one for each block; made for the few units that need it.

        Tasks of one unit may be in blocks side by side, so a block cannot just put back what it found.
        """
        try:
            return self._limits
        except AttributeError:
            self._limits = [math.inf]
            return self._limits


UNIT: ContextVar[Unit] = ContextVar("trio_uwsgi_unit")


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
            except* Exception as group:
                self.failed(unit, sole(group))
            except* trio.Cancelled as group:
                where = location(group)
                raise
            finally:
                UNIT.reset(token)
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


def sole(group: BaseExceptionGroup[Any]) -> BaseException:
    """The one error inside nested groups of one, or the group itself when there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def summary(error: BaseException) -> str:
    """One line: the type, and the text's first line."""
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    return next(
        line for line in lines if not line.startswith(" ")
    )  # a SyntaxError shows its source first; notes come last


def location(error: BaseException) -> str:
    """Where a cancelled unit was stuck, as `file:line in function (source line)`: its deepest frame outside of Trio."""
    frames = _frames(error)
    while isinstance(error, BaseExceptionGroup):  # trio.sleep as a task has no such frame, but its nursery has
        error = error.exceptions[0]
        frames += _frames(error)
    if isinstance(error.__context__, ThreadCancelled):  # the task only waited; its thread is what was stuck
        return error.__context__.where
    return _deepest(frames)


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    return [(tb.tb_frame, tb.tb_lineno) for tb in _tracebacks(error.__traceback__)]


def thread_location(ident: int) -> str:
    """Where a running thread is right now, in the same form as `location`; `ident` is `threading.get_ident()` of it."""
    frame: FrameType | None = sys._current_frames().get(ident)
    frames: list[tuple[FrameType, int]] = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return _deepest(frames[::-1])


def _tracebacks(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


# Frames of these packages say how the unit waits, not what it waits for.
_PLUMBING = {"trio", "trio_uwsgi", "outcome", "anyio", "contextlib", "threading", "queue"}


def _deepest(frames: list[tuple[FrameType, int]]) -> str:
    theirs = [f for f in frames if str(f[0].f_globals.get("__name__", "")).partition(".")[0] not in _PLUMBING]
    if not theirs:
        return "a place outside of the application"
    frame, line = theirs[-1]
    entry = traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)
    return f"{entry.filename}:{entry.lineno} in {entry.name} ({entry.line})"
