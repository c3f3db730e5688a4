"""Runs an ASGI 3 application, in the tasks of `runners.py`. Lifespan is in `lifespan.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_uwsgi._apps.asgi_exchange import AsgiApp, AsgiExchange
from trio_uwsgi._apps.asgi_websocket import WebSocketExchange
from trio_uwsgi._apps.open_websocket import WebSocketPings
from trio_uwsgi._apps.runners import Runner, RunnerDriver
from trio_uwsgi._http.websocket_handshake import is_handshake
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._http.session import Session

__all__ = ["AsgiApp", "AsgiDriver"]


class AsgiDriver(RunnerDriver[AsgiExchange]):
    """Runs `app` for the exchanges of one service.

    Args:
        app: the application.
        state: the lifespan's; every request gets a shallow copy of it.

    `pings` has its WebSockets.
    """

    pings: WebSocketPings

    def __init__(self, app: AsgiApp, state: dict[str, object]) -> None:
        super().__init__()
        self._app = app
        self._state = state  # in a member process the lifespan starts after this is made

    @staticmethod
    def exchange_type(session: Session, request: Request) -> AsgiExchange:
        """Make the exchange of a request."""
        if request.upgrade == b"websocket" and is_handshake(request):
            return WebSocketExchange(session, request)
        return AsgiExchange(session, request)

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.pings = WebSocketPings(service.options.websocket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pings.serve)
            await super().serve(service, task_status=task_status)

    async def _run(self, runner: Runner, exchange: AsgiExchange) -> None:
        """Call the application for one exchange and report its errors."""
        UNIT.set(exchange)
        complete = True
        try:
            if not exchange.cancelled:  # while it was in the queue
                if not (exchange.refusable and exchange.refuse()):
                    await self._app(exchange.asgi_scope(self._state), exchange.receive, exchange.send)
                complete = exchange.over
        except BaseException as error:
            failure, passing = split_failure(error)
            if passing is not None:
                runner.where = location(passing)
            if failure is not None:
                self._failed(exchange, failure)
            if passing is not None:
                raise passing from passing.__cause__
        if complete:
            pass
        elif exchange.raw:
            exchange.end_raw()
        elif exchange.gone or exchange.notified:  # there is no client for the response, or it was a stream
            exchange.leave_unanswered()
        else:
            self._failed(exchange, _incomplete(exchange))

    def _failed(self, exchange: AsgiExchange, error: BaseException) -> None:
        if exchange.failed(error):
            self._service.calls.failed(exchange, error)


def _incomplete(exchange: Exchange) -> LocalProtocolError:
    what = "without completing its response" if exchange.response.started else "without sending a response"
    return LocalProtocolError(f"the application returned {what}")
