"""Runs a WSGI application on Trio's own thread, one request at a time: uWSGI's classic model.

Theory. One task runs whole requests, one after the other, as the batches of the reactor bring them; that costs neither
a thread nor a hop. While one runs, nothing else of the process does: what Trio cannot end, the master's watchdog ends
from outside, together with the process, by the signs of life that are left here between requests. So this is for
members that are processes; a request that comes back too late, but before the watchdog, is answered 504.

Nobody should wait for a slow client, so a body is awaited before its request begins, up to what a connection holds in
any case (`MARK`). What is larger is read by the application as it arrives, and a client that does not take the pieces
of its response is waited for, too: with greenback the loop goes on meanwhile, and no other request begins; without it
the process waits, as uWSGI's does. Both are bounded by `socket_timeout` and the harakiri, and by nobody else's
progress, so they cannot lock each other up.

Other waits of the application (`uwsgi.lock`, RPC) are `greenback.await_(uwsgi.lock())`. `trio.from_thread` is for
threads, and says so; see `hidden_trio.py`.
"""

from __future__ import annotations

import contextvars
import importlib.util
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

import trio

from trio_uwsgi._apps.hidden_trio import REMEDY, explain, run_plain
from trio_uwsgi._apps.runners import TURN_SECONDS
from trio_uwsgi._apps.wsgi_streams import base_environ
from trio_uwsgi._apps.wsgi_threads import WsgiApp, WsgiExchange
from trio_uwsgi._http.exchange import MARK, Exchange
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.leftovers import Fence, LeftOpen, fenced, in_own_task
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import CannotWait, Harakiri

if TYPE_CHECKING:
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._units.heartbeat import Heartbeat

__all__ = ["InlineDriver", "InlineExchange"]

# An extra. Any: it is a module, or None.
greenback: Any = importlib.import_module("greenback") if importlib.util.find_spec("greenback") else None

# How long a thread of the application waits for Trio's to be free, in seconds. Where the request's code waits for that
# thread without Trio, it would be for ever.
PATIENCE = 1.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InlineExchange(WsgiExchange):
    """An exchange whose application runs on Trio's thread, and so delivers by itself."""

    __slots__ = ("whole",)

    whole: bool  # all of the response is there, so that nothing is won by waiting for its client

    @property
    def _inline(self) -> InlineDriver:
        return cast("InlineDriver", self.driver)

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`. What does not wait for Trio is ended by the watchdog."""
        self.user_deadline = deadline
        self._inline.limit(self, deadline)

    def call_trio(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Wait for what Trio does, through greenback; in another thread, while the request waits through greenback.

        Raises:
            CannotWait: greenback is not installed; or, in another thread, the request's code keeps Trio from running.
        """
        if threading.get_ident() != self.thread:
            return self._call_from_elsewhere(func, *args)
        if not self._inline.portal:
            name = getattr(func, "__qualname__", repr(func))
            raise CannotWait(name, "install greenback (trio-uwsgi[greenback]), or set threads=1 or more")
        result: T = greenback.await_(func(*args))
        return result

    def _call_from_elsewhere(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        token = self.session.service.token
        free = threading.Event()
        token.run_sync_soon(free.set)
        if not self._inline.portal or not free.wait(PATIENCE):
            raise CannotWait(
                "a thread that reads wsgi.input or writes while the request's own code keeps Trio from running",
                "set threads=1 or more, or wait for that thread with "
                "greenback.await_(trio.to_thread.run_sync(thread.join)) (of trio-uwsgi[greenback])",
            )
        return trio.from_thread.run(func, *args, trio_token=token)

    def next_body(self) -> bytes:
        """As `Exchange.receive_body`."""
        if self._inline.portal or threading.get_ident() != self.thread:
            return self.call_trio(self.receive_body)
        while (body := self.body_at_hand()) is None:
            self.ask_for_body()
            self._block(False)
        return body

    def soon(self, data: bytes, more: bool) -> None:
        """Deliver at once."""
        if not self.over:
            self.deliver(data, more)

    def respond(self, result: Iterable[bytes]) -> bytes | None:
        """As `WsgiExchange.respond`."""
        self.whole = isinstance(result, list | tuple)
        return super().respond(result)

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        if threading.get_ident() != self.thread:
            self.call_trio(self._deliver_and_wait, data)
            return
        self.deliver(data, True)
        while not self.whole and self.session.pending > MARK and not self.over:
            if self._inline.portal:
                self.call_trio(self.wait_room)
            else:
                self._block(True)
        if self.lost:
            self.deliver(b"", True)  # raises what fits

    def _block(self, writing: bool) -> None:
        """Let the process wait for this client; not longer than the client, or this request, may take."""
        service = self.session.service
        now = service.clock()
        patience = service.options.timeouts.socket
        left = min(patience, self.option_deadline - now, self.user_deadline - now)
        if left > 0 and self.session.block(writing, left):
            return
        if left < patience:
            raise Harakiri(self.member.name, self.what, service.clock() - self.started, "a wait for its client")
        self.session.stalled()


class InlineDriver:
    """Runs `app` for the exchanges of one service.

    Args:
        app: the application.
        multiprocess: whether other processes run the same application.
        portal: whether its code may wait for Trio; None where greenback is installed.
    """

    exchange_type = InlineExchange

    def __init__(self, app: WsgiApp, *, multiprocess: bool, portal: bool | None = None) -> None:
        self.portal = greenback is not None if portal is None else portal
        self._app = app
        self._base = base_environ(multithread=False, multiprocess=multiprocess)
        self._ready: deque[InlineExchange] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._context = contextvars.Context()
        self._current: InlineExchange | None = None  # whose application runs
        self._last: InlineExchange  # whose application runs, or ran last
        self._scope = trio.CancelScope()
        self._used = False  # the scope was cancelled, or given a deadline
        self._nursery: trio.Nursery
        self._service: HttpService
        self._heartbeat: Heartbeat | None = None

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run exchanges until cancelled."""
        explain()
        self._service = service
        self._heartbeat = service.member.heartbeat
        self._context = contextvars.copy_context()
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while True:
                await in_own_task(self._work, "requests")

    def begin(self, exchange: Exchange) -> None:
        """Have an exchange run when those before it have, and its body is there."""
        assert isinstance(exchange, InlineExchange)
        if exchange.request.complete:
            self._enqueue(exchange)
        else:
            self._nursery.start_soon(self._await_body, exchange)

    def _enqueue(self, exchange: InlineExchange) -> None:
        self._ready.append(exchange)
        if self._idle:
            self._idle.unpark()

    async def _await_body(self, exchange: InlineExchange) -> None:
        there = await exchange.until_body()
        if exchange.cancelled:
            return
        if there:
            self._enqueue(exchange)
        else:  # the client left, or took too long
            self._service.ended(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """Cancel the exchange where it waits. Where it does not, only the watchdog can end it, and this is too late."""
        exchange.cancelled = True
        if exchange is self._current:
            self._used = True
            self._scope.cancel()
        else:
            self._give_up(exchange, "its place in the queue" if exchange.request.complete else "the way of its body")

    def limit(self, exchange: InlineExchange, deadline: float) -> None:
        """The code of this exchange has set its own deadline."""
        if exchange is self._current:
            self._used = True
            self._scope.deadline = deadline
            self._tell(exchange)

    def _tell(self, exchange: InlineExchange) -> None:
        if self._heartbeat is not None:
            request = exchange.request
            self._heartbeat.begin_request(b"request %b %b" % (request.method.encode(), request.raw_path))

    async def _work(self) -> None:
        """Run exchanges until one has left something open in the task."""
        if self.portal:
            await greenback.ensure_portal()
        left_open = False
        while not left_open:
            self._scope = trio.CancelScope()
            self._used = False
            with fenced(self._scope) as fence:
                await self._run_under_one_scope(fence)
            left_open = fence.left_open
            exchange, self._current = self._current, None
            if exchange is not None:  # cancelled
                self._tidy(exchange)
                self._give_up(exchange, exchange.where)
            if left_open:
                self._service.calls.failed(self._last, LeftOpen(self._last.what))

    async def _run_under_one_scope(self, fence: Fence) -> None:
        """Run exchanges until one has used the scope up."""
        ready = self._ready
        service = self._service
        heartbeat = self._heartbeat
        now = service.clock
        turn_ends = now() + TURN_SECONDS
        task, status = fence.task, fence.status
        while not self._used and task._cancel_status is status:
            if not ready or now() > turn_ends:
                if heartbeat is not None:
                    heartbeat.end_request()
                if ready:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._idle.park()
                turn_ends = now() + TURN_SECONDS
                continue
            exchange = ready.popleft()
            if exchange.cancelled:
                continue
            if heartbeat is not None:
                if service.limit != math.inf:
                    self._tell(exchange)
                else:
                    heartbeat.beat()
            self._current = self._last = exchange
            self._run(exchange)
            self._current = None

    def _run(self, exchange: InlineExchange) -> None:
        """Run one exchange, and contain what it does wrong. Only a cancellation, or an interrupt, leaves this."""
        error: BaseException | None = None
        end: bytes | None = None
        try:
            end = self._context.copy().run(self._call, exchange)
        except BaseException as raised:
            error, passing = split_failure(raised)
            if passing is not None:
                exchange.where = location(passing)
                if error is not None:  # in the same group; past this, it would be the worker's failure
                    self._failed(exchange, error)
                raise passing from passing.__cause__
        self._tidy(exchange)
        if exchange.cancelled or self._service.clock() >= min(exchange.option_deadline, exchange.user_deadline):
            where = "its end, which came too late" if error is None else location(error)
            self._give_up(exchange, where)
            return
        if error is not None:
            self._failed(exchange, error)
        elif end is not None and not exchange.over:
            exchange.deliver(end, False)
        self._service.ended(exchange)

    def _call(self, exchange: InlineExchange) -> bytes | None:
        UNIT.set(exchange)
        exchange.whole = False
        return run_plain(exchange.run, self._app, self._base)

    def _tidy(self, exchange: InlineExchange) -> None:
        exchange.input = None
        exchange.environ = {}  # whose wsgi.input knows the exchange: the two would keep each other alive

    def _give_up(self, exchange: Exchange, where: str) -> None:
        """It took too long, or its client left and nobody wants its response."""
        if exchange.abandoned:
            exchange.drop()
        else:
            exchange.cut(504, "Gateway Timeout")
            self._service.calls.expired(exchange, where)
        self._service.ended(exchange)

    def _failed(self, exchange: InlineExchange, error: BaseException) -> None:
        if isinstance(error, RuntimeError) and "from inside a run()" in str(error):
            error.add_note(f"This application runs on Trio's own thread, which runs Trio already; {REMEDY}.")
        if exchange.failed(error):
            self._service.calls.failed(exchange, error)
