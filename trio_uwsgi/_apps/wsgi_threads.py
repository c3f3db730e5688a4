"""Runs a WSGI application (PEP 3333): every request in a thread of the member's pool.

`wsgi_inline.py` runs it without threads; `wsgi_exchange.py` has the exchanges.

A thread never touches a connection. A response that is complete at once is encoded in the thread and returned as the
job's result, in one hop; pieces go to Trio's thread as they are made, and the thread waits in Trio if the client is
slow, or for more of the request's body. The time limit (harakiri) cancels such waits; a thread that does anything else
is abandoned by the pool.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import outcome
import trio

from trio_uwsgi._apps.open_websocket import WebSocketPings
from trio_uwsgi._apps.wsgi_exchange import WsgiExchange, send_early_hints
from trio_uwsgi._apps.wsgi_streams import base_environ
from trio_uwsgi._apps.wsgi_websocket import threads_exchange
from trio_uwsgi._units.failures import is_interrupt
from trio_uwsgi._units.stuck import location
from trio_uwsgi.errors import ThreadAbandoned, ThreadCancelled

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_exchange import WsgiApp
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._units.thread_pool import ThreadPool

__all__ = ["WsgiDriver"]


class WsgiDriver:
    """Runs `app` for the exchanges of one service.

    Args:
        app: the application.
        threads: the pool in which it runs.
        multithread: whether two requests may run at once in this process.
        multiprocess: whether other processes run the same application.
    """

    exchange_type = staticmethod(threads_exchange)

    def __init__(self, app: WsgiApp, threads: ThreadPool, *, multithread: bool, multiprocess: bool) -> None:
        self._app = app
        self._threads = threads
        self._base = base_environ(multithread=multithread, multiprocess=multiprocess)
        self._nursery: trio.Nursery
        self._service: HttpService
        self.pings: WebSocketPings

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch the deadlines set by user code, and WebSockets, until cancelled. The threads belong to the member."""
        self._service = service
        if service.options.early_hints:
            self._base["wsgi.early_hints"] = send_early_hints
        self.pings = WebSocketPings(service.options.websocket)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.pings.serve)
            task_status.started()
            await trio.sleep_forever()

    def begin(self, exchange: Exchange) -> None:
        """Queue the exchange for a thread. A body of the usual size is received first: `_http/limits.py` has the sizes.

        A client that waits for `100 Continue` leaves that to the application.
        """
        assert isinstance(exchange, WsgiExchange)
        request = exchange.request
        if request.complete:
            self._submit(exchange)
        elif request.chunked or (not request.expect_continue and exchange.reserve_body()):
            self._nursery.start_soon(self._await_body, exchange)
        else:
            self._submit(exchange)

    async def _await_body(self, exchange: WsgiExchange) -> None:
        received = await exchange.until_body()
        if exchange.cancelled:
            return
        if received:
            self._submit(exchange)
        else:
            self._service.ended(exchange)

    def _submit(self, exchange: WsgiExchange) -> None:
        done = functools.partial(self._done, exchange)
        try:
            exchange.job = self._threads.submit(exchange.run, self._app, self._base, unit=exchange, done=done)
        except trio.ClosedResourceError:  # the worker is being stopped at once; this is its last batch
            exchange.cut(503, "Service Unavailable")
            self._service.ended(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """Cancel what the thread waits for in Trio. After the time limit, a thread that does not end is abandoned; if
        only its client disconnected, it continues. The end of the job is reported as usual.
        """
        assert isinstance(exchange, WsgiExchange)
        late = exchange.cancelled or not exchange.abandoned
        exchange.cancelled = True
        if exchange.job is not None:
            self._threads.cancel(exchange.job, abandon=late)
        elif not exchange.over:
            self._abort(exchange, "the receipt of its body")
            self._service.ended(exchange)

    def _abort(self, exchange: WsgiExchange, where: str) -> None:
        if exchange.abandoned:
            exchange.drop()
        else:
            exchange.cut(504, "Gateway Timeout")
            self._service.calls.expired(exchange, where)

    def watch_user_deadline(self, exchange: WsgiExchange) -> None:
        """Enforce the newest deadline set by the user's code, and no older one."""
        if exchange.watch is not None:
            exchange.watch.cancel()
            exchange.watch = None
        if exchange.user_deadline != math.inf:
            exchange.watch = trio.CancelScope()
            self._nursery.start_soon(self._watch, exchange, exchange.watch)

    async def _watch(self, exchange: WsgiExchange, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_until(exchange.user_deadline)
            self.cancel(exchange)

    def _done(self, exchange: WsgiExchange, result: outcome.Outcome[bytes | None]) -> None:
        """Handle the end of the application's job. Trio calls this directly, so it must not raise."""
        if exchange.taken < exchange.given and not exchange.cancelled:
            # The pool reports several ends at once, so this one may be ahead of pieces that its thread sent before.
            self._service.token.run_sync_soon(self._done, exchange, result)
            return
        if exchange.watch is not None:
            exchange.watch.cancel()
        exchange.input = None
        exchange.environ = {}  # its wsgi.input refers to the exchange, which would be a cycle
        if isinstance(result, outcome.Error):
            self._failed(exchange, result.error)
        else:
            end = result.unwrap()
            if end is not None and not exchange.over:
                exchange.deliver(end, False)
        self._service.ended(exchange)

    def _failed(self, exchange: WsgiExchange, error: BaseException) -> None:
        calls = self._service.calls
        if exchange.cancelled:
            exchange.abandoned &= not isinstance(error, ThreadAbandoned)  # which happens only after the time limit
            self._abort(exchange, error.where if isinstance(error, ThreadCancelled) else location(error))
            return
        if not exchange.failed(error):
            return
        try:
            calls.failed(exchange, error)
            if is_interrupt(error):  # it ends the runtime, as it does from a task
                self._nursery.start_soon(_raise, error)
        except Exception as strict:  # a strict journal raises, in a callback of Trio's
            self._nursery.start_soon(_raise, strict)


async def _raise(error: BaseException) -> None:
    raise error
