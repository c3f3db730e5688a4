"""Runs a WSGI application on Trio's own thread, one request at a time: uWSGI's classic model.

Theory. One task runs whole requests, one after the other, as the batches of the reactor begin them; that costs neither
a thread nor a hop. While one runs, nothing else in the process does. Heartbeats between requests let the master's
watchdog find a request that Trio cannot cancel, and kill it with its process. So this is for members that are
processes. A request that returns after its time limit, but before the watchdog acts, gets a 504.

A body of the usual size is received before its request begins (`_http/limits.py` has the sizes), so that a slow client
does not delay other requests. The application reads the rest of a larger body as it arrives, and
waits for a client that is slow to read a response made in pieces. `socket_timeout` and the time limit (harakiri) bound
both, whatever other requests do, so two requests cannot deadlock.

The application waits for anything else (locks, RPC) with `sync.lock()` or `sync.wait()`. Each wait goes through
greenback, to whose portal the task of the requests is bound; the event loop runs meanwhile. `trio.from_thread` is for
threads, and its error says so; see `loop_detection.py`.
"""

from __future__ import annotations

import contextvars
import math
from collections import deque
from typing import TYPE_CHECKING

import greenback
import trio

from trio_uwsgi._apps.loop_detection import REMEDY, hide_trio, run_sync_code
from trio_uwsgi._apps.open_websocket import WebSocketPings
from trio_uwsgi._apps.runners import TURN_SECONDS
from trio_uwsgi._apps.wsgi_exchange import send_early_hints
from trio_uwsgi._apps.wsgi_inline_exchange import InlineExchange
from trio_uwsgi._apps.wsgi_streams import base_environ
from trio_uwsgi._apps.wsgi_websocket import inline_exchange
from trio_uwsgi._system.forks import end_forked_child, forks_to_here
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.journal import summary
from trio_uwsgi._units.leftovers import Fence, LeftOpen, fenced, in_own_task
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.unit import UNIT

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_exchange import WsgiApp
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._units.heartbeat import Heartbeat

__all__ = ["InlineDriver"]


class InlineDriver:
    """Runs `app` for the exchanges of one service.

    Args:
        app: the application.
        multiprocess: whether other processes run the same application.
    """

    exchange_type = staticmethod(inline_exchange)

    def __init__(self, app: WsgiApp, *, multiprocess: bool) -> None:
        self._app = app
        self._base = base_environ(multithread=False, multiprocess=multiprocess)
        self._ready: deque[InlineExchange] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._context = contextvars.Context()
        self._current: InlineExchange | None = None  # the one that runs
        self._last: InlineExchange  # the one that runs, or ran last
        self._freed: trio.Event | None = None  # set when the one that runs has ended
        self._scope = trio.CancelScope()
        self._used = False  # the scope was cancelled, or got a deadline
        self._nursery: trio.Nursery
        self._service: HttpService
        self.pings: WebSocketPings
        self._heartbeat: Heartbeat | None = None

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run exchanges until cancelled."""
        hide_trio()
        self._service = service
        service.one_at_a_time = self
        if service.options.early_hints:
            self._base["wsgi.early_hints"] = send_early_hints
        self._heartbeat = service.member.heartbeat
        self._context = contextvars.copy_context()
        self.pings = WebSocketPings(service.options.websocket)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.pings.serve)
            task_status.started()
            while True:
                await in_own_task(self._work, "requests")

    def begin(self, exchange: Exchange) -> None:
        """Queue an exchange once its body was received."""
        assert isinstance(exchange, InlineExchange)
        if exchange.request.complete:
            self._enqueue(exchange)
        else:
            exchange.reserve_body()
            self._nursery.start_soon(self._await_body, exchange)

    def _enqueue(self, exchange: InlineExchange) -> None:
        self._ready.append(exchange)
        if self._idle:
            self._idle.unpark()

    async def _await_body(self, exchange: InlineExchange) -> None:
        received = await exchange.until_body()
        if exchange.cancelled:
            return
        if received:
            self._enqueue(exchange)
        else:  # the client disconnected, or was too slow
            self._service.ended(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """Cancel the exchange if it waits. If its code blocks, only the watchdog can end it, with the process."""
        exchange.cancelled = True
        if exchange is self._current:
            self._used = True
            self._scope.cancel()
        else:
            self._abort(exchange, "its place in the queue" if exchange.request.complete else "the receipt of its body")

    def limit(self, exchange: InlineExchange, deadline: float) -> None:
        """Set the deadline that the code of this exchange asks for."""
        if exchange is self._current:
            self._used = True
            self._scope.deadline = deadline
            self._record_request(exchange)

    @property
    def occupied(self) -> bool:
        """As `OneAtATime.occupied`."""
        return self._current is not None

    async def until_free(self) -> None:
        """As `OneAtATime.until_free`."""
        if self._freed is None:
            self._freed = trio.Event()
        await self._freed.wait()

    def _record_request(self, exchange: InlineExchange) -> None:
        if self._heartbeat is not None:
            request = exchange.request
            self._heartbeat.begin_request(b"request %b %b" % (request.method.encode(), request.raw_path))

    async def _work(self) -> None:
        """Run exchanges until one leaves something open in the task."""
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
                self._release(exchange)
                self._abort(exchange, exchange.where)
            if left_open:
                self._service.calls.failed(self._last, LeftOpen(self._last.what))

    async def _run_under_one_scope(self, fence: Fence) -> None:
        """Run exchanges until one has used the scope up."""
        ready = self._ready
        service = self._service
        heartbeat = self._heartbeat
        now = service.clock
        turn_ends = now() + TURN_SECONDS
        shows = service.limit != math.inf or service.options.show_requests
        task, status = fence.task, fence.status
        while not self._used and task._cancel_status is status:
            if self._freed is not None:
                self._freed.set()
                self._freed = None
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
                if shows:
                    self._record_request(exchange)
                else:
                    heartbeat.begin_request()
            self._current = self._last = exchange
            self._run(exchange)
            self._current = None

    def _run(self, exchange: InlineExchange) -> None:
        """Run one exchange and handle its errors. Raises only a cancellation or an interrupt."""
        error: BaseException | None = None
        end: bytes | None = None
        forks = forks_to_here()
        try:
            end = self._context.copy().run(self._call, exchange)
        except BaseException as raised:
            if forks_to_here() != forks:
                end_forked_child(raised)
            error, passing = split_failure(raised)
            if passing is not None:
                exchange.where = location(passing)
                if error is not None:  # in the same group; raised from here, it would be a failure of the worker
                    self._failed(exchange, error)
                raise passing from passing.__cause__
        if forks_to_here() != forks:
            end_forked_child(None)
        self._release(exchange)
        now = self._service.clock()
        if exchange.cancelled or now >= exchange.option_deadline or now >= exchange.user_deadline:
            where = "its return, after the time limit" if error is None else location(error)
            self._abort(exchange, where)
            return
        if error is not None:
            self._failed(exchange, error)
        elif end is not None and not exchange.over:
            exchange.deliver(end, False)
        self._service.ended(exchange)

    def _call(self, exchange: InlineExchange) -> bytes | None:
        UNIT.set(exchange)
        exchange.whole = False
        return run_sync_code(exchange.run, self._app, self._base)

    def _release(self, exchange: InlineExchange) -> None:
        exchange.input = None
        exchange.environ = {}  # its wsgi.input refers to the exchange, which would be a cycle

    def _abort(self, exchange: Exchange, where: str) -> None:
        """End an exchange that passed its time limit (504), or whose client disconnected."""
        if exchange.abandoned:
            exchange.drop()
        else:
            exchange.cut(504, "Gateway Timeout")
            self._service.calls.expired(exchange, where)
        self._service.ended(exchange)

    def _failed(self, exchange: InlineExchange, error: BaseException) -> None:
        if isinstance(error, RuntimeError) and "from inside a run()" in summary(error):
            error.add_note(f"This application runs on Trio's own thread, which runs Trio already; {REMEDY}.")
        if exchange.failed(error):
            self._service.calls.failed(exchange, error)
