"""Runs an ASGI 3 application: one Trio task per request that waits, out of a pool of parked ones. Floor 2.

Theory. A batch of the reactor begins many exchanges, and most applications answer without waiting for anything. So a
batch wakes one runner, which runs one exchange after the other. When an application does wait, its runner waits with it
(it is an ordinary task, with everything Trio gives to one), and wakes others for the rest. A request that never waits
pays for no task switch; the others pay for one, as if each had been given a task at once.

A runner's cancel scope lives as long as its task: a scope per request would cost as much as a small response. A scope
that was cancelled, or had a deadline of its own, is replaced before the next request. Every request runs in a fresh
copy of the worker's context, so context variables never leak from one to the next.

Lifespan is in `lifespan.py`.
"""

from __future__ import annotations

import contextvars
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._tasks.calls import FAILURES
from trio_uwsgi._tasks.exchange import Exchange
from trio_uwsgi._tasks.journal import sole
from trio_uwsgi._tasks.stuck import location
from trio_uwsgi._tasks.unit import UNIT
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._tasks.service import HttpService

# The ASGI specification's own types: messages and scopes are dicts of whatever their type says.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# Parked tasks kept for the next burst; more than this end after their request. A parked task is about 3 KB.
PARKED = 256
# How long a runner goes on without letting other tasks run, in seconds: short beside the 50 ms in which a timer is
# promised to fire.
TURN_SECONDS = 0.005


class AsgiExchange(Exchange):
    """An exchange with the application's `receive` and `send`."""

    __slots__ = ("runner",)

    runner: _Runner  # which runs it, or ran it and is somebody else's by now

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`; the option's deadline is in the service's table. Nothing happens after the end.

        A task that outlived its request still finds it as its unit, and must not limit the one that runs now.
        """
        if self.runner.exchange is self:
            self.user_deadline = deadline
            self.runner.used = True
            self.runner.scope.deadline = deadline

    async def receive(self) -> Message:
        """The next `http.request`, then `http.disconnect` once the client left or has the whole response."""
        if not self.body_read:
            try:
                body = await self.receive_body() if not self.request.complete else self.request.take_body()
            except ClientDisconnected:
                self.body_read = True
                return {"type": "http.disconnect"}
            more = not self.request.complete
            self.body_read = not more
            return {"type": "http.request", "body": body, "more_body": more}
        while not self.gone:
            await self.session.wait_arrival()
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send `http.response.start` or `http.response.body`. Waits only for a client that is slow to read.

        Raises:
            ClientDisconnected: the client left (ASGI 2.4).
            LocalProtocolError: the message does not fit here.
        """
        kind = message["type"]
        if self.over:
            self.deliver(b"", False)  # raises what fits
        elif kind == "http.response.body":
            piece = message.get("body", b"")
            if type(piece) is not bytes:
                piece = _as_bytes(piece)
            if message.get("more_body"):
                await self.send_piece(piece)
            else:
                self.complete(piece)
        elif kind == "http.response.start":
            if self.response.started:
                raise LocalProtocolError("the application sent http.response.start twice")
            self.start(message["status"], message.get("headers", ()))
        else:
            raise LocalProtocolError(
                f"the application sent {kind!r}; an http request takes http.response.start, then http.response.body"
            )


def _as_bytes(piece: object) -> bytes:
    if isinstance(piece, bytes | bytearray | memoryview):  # a subclass of bytes, too
        return bytes(piece)
    raise LocalProtocolError(f"the application sent a body of type {type(piece).__name__}; it must be bytes")


class _Runner:
    """One task that runs exchanges, the scope they share, and the exchange that used the scope up, or is running.

    `used` says that this scope was cancelled or given a deadline, even if that was taken away later.
    """

    __slots__ = ("exchange", "parked", "scope", "task", "used", "where")

    def __init__(self, parked: list[_Runner]) -> None:
        self.parked = parked
        self.exchange: AsgiExchange | None = None
        self.scope = trio.CancelScope()
        self.used = False
        self.task: trio.lowlevel.Task
        self.where = ""

    def leave(self, _: Callable[[], None]) -> trio.lowlevel.Abort:
        """The worker is being cancelled while this task is parked."""
        self.parked.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED


class AsgiDriver:
    """Runs `app` for the exchanges of one service.

    Begun exchanges wait in `_ready` until the batch that began them is over. `_awake` counts the runners that have been
    called, or run and do not wait inside of an application: as long as there is one, everything in `_ready` will be
    taken.

    Args:
        app: the application.
        state: what its lifespan left for requests; every request sees a shallow copy.
    """

    exchange_type = AsgiExchange

    def __init__(self, app: AsgiApp, state: Mapping[str, object]) -> None:
        self.parked: list[_Runner] = []
        self._app = app
        self._state = dict(state)
        self._ready: deque[AsgiExchange] = deque()
        self._awake = 0
        self._context = contextvars.Context()
        self._nursery: trio.Nursery
        self._service: HttpService

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Own the tasks of requests until cancelled."""
        self._service = service
        self._context = contextvars.copy_context()
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def begin(self, exchange: Exchange) -> None:
        """Have the application run for an exchange as soon as the caller's task lets others run."""
        self._ready.append(exchange)  # type: ignore[arg-type]  # made by `exchange_type`
        if not self._awake:
            self._wake(1)

    def cancel(self, exchange: Exchange) -> None:
        """Cancel the application where it waits."""
        assert isinstance(exchange, AsgiExchange)
        exchange.cancelled = True
        if exchange in self._ready:
            return  # its turn has not come; it will be skipped
        exchange.runner.used = True
        exchange.runner.scope.cancel()

    def _wake(self, count: int) -> None:
        """Call this many runners."""
        self._awake += count
        for _ in range(count):
            if self.parked:
                trio.lowlevel.reschedule(self.parked.pop().task)
            else:
                # In a context of its own: we may be inside of some request's.
                self._context.copy().run(self._nursery.start_soon, self._work, _Runner(self.parked))

    async def _work(self, runner: _Runner) -> None:
        """Run exchanges until enough tasks are parked."""
        runner.task = trio.lowlevel.current_task()
        while True:
            with runner.scope as scope:
                await self._run_under_one_scope(runner)
            exchange, runner.exchange = runner.exchange, None
            if exchange is None:
                return
            if exchange.abandoned:
                exchange.drop()
            elif scope.cancelled_caught or not exchange.over:  # the latter: it never began
                exchange.cut(504, "Gateway Timeout")
                self._service.calls.expired(exchange, runner.where)
            self._service.ended(exchange)
            runner.scope = trio.CancelScope()
            runner.used = False

    async def _run_under_one_scope(self, runner: _Runner) -> None:
        """Run exchanges until one has used the scope up, which stays in the runner, or until the task is to end."""
        ready = self._ready
        service = self._service
        now = service.clock
        turn_ends = now() + TURN_SECONDS
        while True:
            if not ready:
                self._awake -= 1
                if len(self.parked) >= PARKED:
                    return
                self.parked.append(runner)
                runner.task.context = self._context  # lets go of what the last request kept in its own
                await trio.lowlevel.wait_task_rescheduled(runner.leave)
                turn_ends = now() + TURN_SECONDS
                continue
            runner.exchange = exchange = ready.popleft()
            runner.where = "its place in the queue for a task"
            exchange.runner = runner
            # The first step is run in a fresh context by hand: a new context of the task takes effect with its next.
            runner.task.context = context = self._context.copy()
            coroutine = self._run(runner, exchange)
            try:
                trap = context.run(coroutine.send, None)
            except StopIteration:
                pass
            else:
                await self._go_on(coroutine, trap)
            if exchange.cancelled or runner.used:
                return
            runner.exchange = None
            service.ended(exchange)
            if now() > turn_ends:
                await trio.lowlevel.checkpoint()
                turn_ends = now() + TURN_SECONDS

    @types.coroutine
    def _go_on(self, coroutine: Coroutine[object, object, None], trap: object) -> Generator[object, object, None]:
        """Await a coroutine whose first step ended in `trap`.

        Trio resumes a task by `send`, and throws only to refuse what another library yields.
        """
        send = coroutine.send
        # This task waits now: if there are others to run, somebody else must.
        self._awake -= 1
        if self._ready and not self._awake:
            self._wake(min(len(self._ready), PARKED))
        try:
            while True:
                try:
                    value = yield trap
                except BaseException as error:
                    trap = coroutine.throw(error)
                else:
                    trap = send(value)
        except StopIteration:
            return
        finally:
            self._awake += 1

    async def _run(self, runner: _Runner, exchange: AsgiExchange) -> None:
        """Call the application for one exchange and report what it did wrong."""
        UNIT.set(exchange)
        complete = True
        try:
            if not exchange.cancelled:  # while it was waiting for its turn
                scope = exchange.request.asgi_scope(exchange.session.peer, self._state)
                await self._app(scope, exchange.receive, exchange.send)
                complete = exchange.over
        except* trio.Cancelled as group:
            runner.where = location(group)
            raise
        except* FAILURES as group:
            self._failed(exchange, sole(group))
        if complete:
            pass
        elif exchange.raw:
            exchange.deliver(b"", False)
        elif exchange.gone:  # it was told, and had nobody to answer
            exchange.cut(500, "Internal Server Error")
        else:
            self._failed(exchange, _incomplete(exchange))

    def _failed(self, exchange: AsgiExchange, error: BaseException) -> None:
        lost = exchange.lost
        exchange.cut(500, "Internal Server Error")
        if not (lost and isinstance(error, ClientDisconnected)):
            self._service.calls.failed(exchange, error)


def _incomplete(exchange: Exchange) -> LocalProtocolError:
    what = "without completing its response" if exchange.response.started else "without sending a response"
    return LocalProtocolError(f"the application returned {what}")
