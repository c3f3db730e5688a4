"""Runs an ASGI 3 application, in the tasks of `runners.py`. Lifespan is in `lifespan.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._apps.runners import Runner, RunnerDriver, RunnerExchange
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange

# The ASGI specification's own types: messages and scopes are dicts of whatever their type says.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class AsgiExchange(RunnerExchange):
    """An exchange with the application's `receive` and `send`."""

    __slots__ = ()

    async def receive(self) -> Message:
        """The next `http.request`, then `http.disconnect` once the client left or has the whole response.

        What is there is given under a cancelled scope, too, as programs ask in one whether the client is still there.
        But a cancel that is meant for the whole request arrives, or one that only ever receives could not be ended.
        """
        if not (self.body_read or self.over):
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
        self.set_notified()
        if self.cancelled or self.runner.is_ended():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
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


class AsgiDriver(RunnerDriver[AsgiExchange]):
    """Runs `app` for the exchanges of one service.

    Args:
        app: the application.
        state: what its lifespan leaves for requests; every request sees a shallow copy of it as it is then.
    """

    exchange_type = AsgiExchange

    def __init__(self, app: AsgiApp, state: dict[str, object]) -> None:
        super().__init__()
        self._app = app
        self._state = state  # in a member that is a process the lifespan begins when this is there already

    async def _run(self, runner: Runner, exchange: AsgiExchange) -> None:
        """Call the application for one exchange and report what it did wrong."""
        UNIT.set(exchange)
        complete = True
        try:
            if not exchange.cancelled:  # while it was waiting for its turn
                scope = exchange.request.asgi_scope(exchange.session.peer, self._state)
                await self._app(scope, exchange.receive, exchange.send)
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
            exchange.deliver(b"", False)
        elif exchange.gone:  # it had nobody to answer
            exchange.leave_unanswered()
        else:
            self._failed(exchange, _incomplete(exchange))

    def _failed(self, exchange: AsgiExchange, error: BaseException) -> None:
        if exchange.failed(error):
            self._service.calls.failed(exchange, error)


def _incomplete(exchange: Exchange) -> LocalProtocolError:
    what = "without completing its response" if exchange.response.started else "without sending a response"
    return LocalProtocolError(f"the application returned {what}")
