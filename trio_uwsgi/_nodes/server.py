"""Answers calls of other nodes over the uwsgi protocol: RPC, signals, jobs, caches, pings.

It is a `Driver`, as in `_apps/asgi.py` and `_apps/wsgi_threads.py`: each packet is an exchange and so a unit of work,
run in the tasks of `_apps/runners.py`, usually without waiting.

Access is checked here, before the packet is decoded. uWSGI has no access rules.

Without a hello (see `_protocol/remote_calls.py`) a failure is a connection that closes without a byte, as with uWSGI.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._apps.runner_exchange import RunnerExchange
from trio_uwsgi._apps.runners import Runner, RunnerDriver
from trio_uwsgi._http.access_line import peer_name
from trio_uwsgi._http.uwsgi_requests import PacketRequest, RpcRequest
from trio_uwsgi._link.frames import Raise
from trio_uwsgi._nodes.cache_calls import answer_cache_call
from trio_uwsgi._nodes.rpc import WrongCount, call_function
from trio_uwsgi._protocol.packet import CACHE, HELLO, PING, RPC, SIGNAL, SPOOL
from trio_uwsgi._protocol.remote_answers import (
    Answer,
    Failure,
    HelloAnswer,
    PingAnswer,
    RpcAnswer,
    SignalAnswer,
    encode_answer,
)
from trio_uwsgi._protocol.remote_calls import (
    CacheCall,
    Call,
    HelloCall,
    OldCacheCall,
    PingCall,
    RpcCall,
    SignalCall,
    SpoolCall,
)
from trio_uwsgi._spool.request import request_of
from trio_uwsgi._units.journal import only_error
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import (
    CacheItemTooLarge,
    ClientDisconnected,
    RemoteProtocolError,
    RpcFailed,
    RpcNotFound,
    SignalQueueFull,
    SpoolError,
)

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi.config.options import AccessRules

logger = logging.getLogger("trio_uwsgi")

_ANSWERED = {SPOOL: "spool", PING: "ping", SIGNAL: "signal", CACHE: "cache", RPC: "rpc"}


class PacketExchange(RunnerExchange):
    """A packet and its answer, as an exchange."""

    __slots__ = ()

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.kind = "packet"


class PacketDriver(RunnerDriver[PacketExchange]):
    """Answers the packets of one worker.

    Args:
        access: which clients may send which packets.
        calls: the member's, for reporting failures.
    """

    exchange_type = PacketExchange
    timeout_reason = "the call timed out"

    def __init__(self, access: AccessRules, calls: Calls) -> None:
        super().__init__()
        self._access = access
        self._calls = calls

    async def _run(self, runner: Runner, exchange: PacketExchange) -> None:
        """Answer one packet."""
        UNIT.set(exchange)
        try:
            if exchange.cancelled:  # while it was in the queue
                pass
            elif self._is_allowed(exchange):
                await self._answer(exchange)
            else:
                self._close(exchange)
        except* trio.Cancelled as group:
            runner.where = location(group)
            raise
        except* ClientDisconnected:
            exchange.drop()  # the client is gone
        except* RemoteProtocolError as group:
            error = only_error(group)
            logger.warning("%s: refused %s: %s", peer_name(exchange.session.peer), exchange.name, error)
            exchange.cut(400, str(error))

    def _is_allowed(self, exchange: Exchange) -> bool:
        modifier = exchange.request.modifier1
        peer = exchange.session.peer
        name = _ANSWERED.get(modifier)
        if modifier == HELLO:
            return True  # it has no effect, and answers nothing about this server but its kind
        if name is None:
            logger.warning(
                "%s: modifier %d is not supported; for the application, set nginx's uwsgi_modifier1 to 0 or 30",
                peer_name(peer),
                modifier,
            )
            return False
        if not self._access.allow(modifier, None if peer.client is None else peer.client[0], peer.listener):
            logger.warning(
                "%s may not use %s over the uwsgi protocol; set Config(modifiers={%r: [...]}), "
                "on the command line --modifier %s=SOURCE, to allow it",
                *(peer_name(peer), name, name, name),
            )
            return False
        return True

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        if isinstance(request, RpcRequest):
            await self._answer_as_http(exchange, request)
            return
        assert isinstance(request, PacketRequest), "the parser makes no other request with a modifier"
        body = b""
        if not request.complete or request.buffered:
            try:
                body = await self._body(exchange)
            except CacheItemTooLarge as error:
                self._refuse(exchange, Failure(kind="too-large", reason=str(error)))
                return
        call = request.call(body)
        if isinstance(call, RpcCall):
            answer: Answer = await self._call(exchange, call)
        elif isinstance(call, SpoolCall):
            answer = await self._spool(exchange, call)
        else:
            answer = self._do(exchange, call)
        data = encode_answer(call, answer, greeted=request.keep_alive)
        if exchange.over:  # the client is gone
            return
        if data:
            exchange.status = 200
            exchange.deliver(data, False)
        else:
            self._close(exchange)

    async def _body(self, exchange: Exchange) -> bytes:
        """The value that a cache is to store; refused before it is read if it is too large for every cache."""
        largest = exchange.member.services.caches.largest
        if (exchange.request.content_length or 0) > largest:
            raise CacheItemTooLarge("", "value", exchange.request.content_length or 0, largest)
        pieces = []
        while piece := await exchange.receive_body():
            pieces.append(piece)
        return b"".join(pieces)

    def _refuse(self, exchange: Exchange, failure: Failure) -> None:
        """Answer without reading the rest of the request; the connection ends."""
        logger.warning("%s: a cache call was refused: %s", peer_name(exchange.session.peer), failure.reason)
        exchange.response.keep_alive = False
        exchange.deliver(failure.encode() if exchange.request.keep_alive else b"", False)

    def _close(self, exchange: Exchange) -> None:
        """Refuse: close the connection without a byte, or answer with the reason after a hello."""
        exchange.response.keep_alive = False
        if exchange.over:
            pass
        elif exchange.request.keep_alive:
            exchange.cut(403, "this call is not allowed, or not supported")
        else:
            exchange.deliver(b"", False)

    async def _answer_as_http(self, exchange: Exchange, request: RpcRequest) -> None:
        call = request.call()
        if call is None:
            exchange.cut(500, "the path names no function")
            return
        answer = await self._call(exchange, call)
        if isinstance(answer, Failure) or not answer.result:
            exchange.cut(404, "Not Found")
        else:
            length = b"%d" % len(answer.result)
            exchange.start(200, [(b"Content-Length", length), (b"Content-Type", request.content_type())])
            exchange.complete(answer.result)

    def _do(self, exchange: Exchange, call: Call) -> Answer:
        if isinstance(call, SignalCall):
            return self._raise(exchange, call.signum)
        if isinstance(call, CacheCall | OldCacheCall):
            return answer_cache_call(exchange.member.services.caches, call)
        if isinstance(call, HelloCall):
            return HelloAnswer()
        assert isinstance(call, PingCall), "no other modifier is allowed"
        return PingAnswer()

    async def _spool(self, exchange: Exchange, call: SpoolCall) -> Answer:
        try:
            request = request_of(call.pairs)
            await exchange.member.services.spools.get(request.spooler).submit(request)
        except SpoolError as error:
            logger.warning("%s: a job was refused: %s", peer_name(exchange.session.peer), error)
            return Failure(kind="failed", reason=str(error))
        return SignalAnswer(accepted=True)

    async def _call(self, exchange: Exchange, call: RpcCall) -> RpcAnswer | Failure:
        name = call.name.decode("utf-8", "replace")
        try:
            return RpcAnswer(result=await call_function(exchange, name, call.args))
        except RpcNotFound as error:
            logger.warning("%s: an RPC call was refused: %s", peer_name(exchange.session.peer), error)
            return Failure(kind="not-found", reason=str(error))
        except WrongCount as error:
            logger.warning("%s: an RPC call was refused: %s", peer_name(exchange.session.peer), error)
            return Failure(kind="failed", reason=error.reason)
        except RpcFailed as error:
            self._calls.failed(exchange, error.__cause__ or error)
            return Failure(kind="failed", reason=error.reason)

    def _raise(self, exchange: Exchange, signum: int) -> Answer:
        try:
            exchange.member.link.send(Raise(signum))
        except SignalQueueFull as error:
            return Failure(kind="full", reason=str(error))
        return SignalAnswer(accepted=True)
