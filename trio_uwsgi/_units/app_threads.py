"""Threads that an application started itself: which member they belong to, and how they wait in Trio.

Trio knows nothing of such a thread, and it inherits no context. So a member counts each thread that makes a call as a
unit of work of its own (`AppThread`), and gives it one task, which runs the thread's calls one at a time; so one call
can release the lock that another has acquired. The unit ends with the thread, or with the member: then the call that
waits is cancelled, and the thread gets `NotServing`.

A thread in a copy of a request's context belongs to that request's member. Any other belongs to the first worker that
runs in this process; in a process without a worker, to the first member. Once that has ended, it belongs to another.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import outcome
import trio

from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.trio_threads import waits_for_caller
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.errors import CannotWait, NotServing

if TYPE_CHECKING:
    from trio_uwsgi._units.member import Member

__all__ = [
    "AppThread",
    "AppThreads",
    "app_thread",
    "import_on_trios_thread",
    "is_trios_thread",
    "is_uncancelled_trios_thread",
    "outlives_its_member",
]

# Seconds after which a thread looks whether Trio's thread waits for it, and so will never run its call.
TRIO_WAIT = 1.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Call:
    """One call of a thread: its scope, and where its outcome goes. Error texts call it `what`."""

    __slots__ = ("answer", "args", "context", "func", "scope", "taken", "what")

    def __init__(self, what: str, func: Callable[..., Awaitable[Any]], args: tuple[object, ...], unit: Unit) -> None:
        self.what = what
        self.func = func
        self.args = args
        self.context = contextvars.copy_context()
        if UNIT.get(None) is None:
            self.context.run(UNIT.set, unit)
        self.scope = trio.CancelScope()
        self.taken = False  # by Trio's thread
        self.answer: SimpleQueue[outcome.Outcome[Any]] = SimpleQueue()


class AppThread(Unit):
    """One thread of the application, as a unit of work of one member."""

    __slots__ = ("_of", "_receive", "_send", "_started")

    def __init__(self, of: AppThreads) -> None:
        # Unit's own constructor looks at Trio's clock, for which the thread would have to hop to Trio.
        self._of = of
        self.member = of.member
        self.kind, self._name = of.unit_name()
        self.scope = trio.CancelScope()
        self.started = -math.inf
        self.option_deadline = self.user_deadline = math.inf
        self.ends = None
        self.where = "?"
        # Holds one call, or some more after interrupts: the thread waits for each.
        self._send, self._receive = trio.open_memory_channel[_Call](math.inf)
        self._started = False

    def run(self, what: str, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """In the thread: await `func(*args)` in the thread's task. Error texts call it `what`.

        Raises:
            NotServing: the member has stopped, or stops before the call has ended.
            CannotWait: Trio's thread waits for this one.
        """
        call = _Call(what, func, args, self)
        try:
            self._of.call_soon(self._take, call)
            result = self._outcome(call)
        except trio.RunFinishedError:
            raise self._stopped(call) from None
        except BaseException:  # an interrupt, or a deadlock: nobody waits for the call any more
            if not call.taken:
                call.scope.cancel()
            with contextlib.suppress(trio.RunFinishedError):
                self._of.call_soon(call.scope.cancel)
            raise
        value: T = result.unwrap()
        return value

    def _outcome(self, call: _Call) -> outcome.Outcome[Any]:
        with contextlib.suppress(Empty):
            return call.answer.get(timeout=TRIO_WAIT)
        if not call.taken and waits_for_caller(self._of.trios_thread):
            raise CannotWait(
                call.what,
                "wait for the thread with sync.wait(trio.to_thread.run_sync, thread.join), or set threads=1 or more "
                "(--threads 1)",
                "a thread that code on Trio's own thread waits for",
            )
        return call.answer.get()

    def _take(self, call: _Call) -> None:
        call.taken = True
        if call.scope.cancel_called:  # the thread has given up
            return
        if self.ended or not self._of.serving:
            call.answer.put(outcome.Error(self._stopped(call)))
            return
        self._send.send_nowait(call)
        if not self._started:
            self._started = True
            self._of.nursery.start_soon(self._serve, name=f"{self.what} of {self.member.name}")

    async def _serve(self) -> None:
        task = trio.lowlevel.current_task()
        try:
            with self.scope:
                async for call in self._receive:
                    task.context = call.context
                    await trio.lowlevel.cancel_shielded_checkpoint()  # the context takes effect with the next step
                    await self._answer(call)
        finally:
            self.end()
            with contextlib.suppress(trio.WouldBlock):
                while True:
                    call = self._receive.receive_nowait()
                    call.answer.put(outcome.Error(self._stopped(call)))

    async def _answer(self, call: _Call) -> None:
        result: outcome.Outcome[object] = outcome.Error(self._stopped(call))
        try:
            with call.scope:
                result = outcome.Value(await call.func(*call.args))
        except BaseException as error:
            failure, passing = split_failure(error)
            if failure is not None:
                result = outcome.Error(failure)
            if passing is not None:
                raise passing from passing.__cause__
        finally:
            call.answer.put(result)

    def _stopped(self, call: _Call) -> NotServing:
        if self.member.importing:
            return NotServing(call.what, "call it once members serve", f"by {self.what}, and the import has ended")
        where = f"by {self.what} of {self.member.name}, which has stopped"
        return NotServing(call.what, "let the thread end when uwsgi.stopping() is true", where)

    @property
    def has_trio(self) -> bool:
        """Does Trio run for this thread? In an import it does from the first call on that waits."""
        return self._of.has_trio

    def leave(self) -> None:
        """The thread has ended: release what it holds."""
        if self._started:
            self.scope.cancel()
        else:
            self.end()

    def _own_limits(self) -> list[float]:
        raise NotServing("a time limit", "limit a request, a handler or a mule's program", f"for {self.what}")


class AppThreads:
    """The threads of the application that belong to one member, while `serve` runs."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._serves = False
        self.process = os.getpid()
        self.nursery: trio.Nursery
        self.token: trio.lowlevel.TrioToken
        self.trios_thread = 0

    @property
    def serving(self) -> bool:
        """Does `serve` run? Not in a process that the application has forked."""
        return self._serves and self.process == os.getpid()

    @property
    def has_trio(self) -> bool:
        """Is there a Trio run for their calls?"""
        return True

    def unit_name(self) -> tuple[str, str]:
        """The kind and the name of the calling thread, as a unit."""
        return "thread", threading.current_thread().name

    def call_soon(self, func: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call a function on Trio's thread, soon.

        Raises:
            trio.RunFinishedError: the Trio run is over.
        """
        self.token.run_sync_soon(func, *args)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run calls of threads until cancelled; then the calls that wait end with `NotServing`."""
        self.token = trio.lowlevel.current_trio_token()
        self.trios_thread = threading.get_ident()
        async with trio.open_nursery() as self.nursery:
            with self._served():
                task_status.started()
                await trio.sleep_forever()
            # Before the nursery ends: `_take` starts no task in one that has ended.

    @contextlib.contextmanager
    def _served(self) -> Iterator[None]:
        """During the body, threads find that they belong to this member."""
        self._serves = True
        _SERVING.append(self)
        try:
            yield
        finally:
            self._serves = False
            _SERVING.remove(self)


_SERVING: list[AppThreads] = []  # of this process, in the order of their start


class _Known(threading.local):
    """What this thread was last; it goes away with the thread."""

    def __init__(self) -> None:
        self.known: _Tie | None = None


_THREAD = _Known()


class _Tie:
    """Ties the unit to its thread: Python drops a thread's local data when the thread ends."""

    __slots__ = ("thread",)

    def __init__(self, thread: AppThread) -> None:
        self.thread = thread

    def __del__(self) -> None:
        if self.thread._of.serving and self.thread.has_trio:
            with contextlib.suppress(trio.RunFinishedError):
                self.thread._of.call_soon(self.thread.leave)


def is_trios_thread() -> bool:
    """Did Trio start the calling thread, for `trio.to_thread.run_sync`?"""
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    except trio.Cancelled:  # not for here: each call that waits raises it, but `unlock` must work in a `finally`
        return True
    return True


def is_uncancelled_trios_thread() -> bool:
    """Likewise, and is its call of `to_thread.run_sync` not cancelled? Then it may do what its task could do."""
    try:
        trio.from_thread.check_cancelled()
    except (RuntimeError, trio.Cancelled):
        return False
    return True


def app_thread() -> AppThread | None:
    """The calling thread as a unit of a member. None where no member runs in this process.

    Not for threads that Trio started, or in which it runs.
    """
    unit = UNIT.get(None)
    if isinstance(unit, AppThread):
        return unit
    known = _THREAD.known
    if known is not None and known.thread._of.serving and (unit is None or known.thread.member is unit.member):
        return known.thread
    of = _chosen(None if unit is None else unit.member)
    if of is None:
        return None
    thread = AppThread(of)
    _THREAD.known = _Tie(thread)
    return thread


def import_on_trios_thread() -> AppThread | None:
    """The import, if it runs on Trio's own thread, as in a server that has changed its user before. The Trio run that
    is beside an import has another thread.
    """
    unit = UNIT.get(None)
    if not isinstance(unit, AppThread) or not unit.member.importing or unit._of.trios_thread == threading.get_ident():
        return None
    return unit


def outlives_its_member() -> bool:
    """Did the calling thread belong to a member, and no member runs in this process any more?"""
    known = _THREAD.known
    return known is not None and not known.thread.member.importing and not _SERVING


def _chosen(member: Member | None) -> AppThreads | None:
    mine = [threads for threads in _SERVING if threads.serving and member in (None, threads.member)]
    workers = [threads for threads in mine if threads.member.kind == "worker"]
    return min(workers, key=lambda threads: threads.member.number) if workers else next(iter(mine), None)
