"""One client's connection, from its first byte to its end, as a machine of states.

Theory. A session has one phase, and is in at most one table of deadlines:

    IDLE      no request runs. Waits for a head: `keep_alive` between two requests, `header` for the first one and from
              the first byte of a head on.
    BUSY      one exchange runs. `stall` while the client sends the body, or does not read output.
    SKIPPING  the response is complete but its request's body is not: up to SKIP bytes are discarded (`stall`).
    BLOCKED   the next request waits until the client has read the responses before it (`stall`).
    ENDING    no more requests are answered: output is flushed (`stall`), then the connection is closed in stages
              (`linger`), see `lingering.py`. Input is discarded.
    CLOSED    the transport is closed.

Requests of a connection run one at a time; pipelined ones wait in `queue`, and the client is not read meanwhile, so one
read bounds the queue. Methods never wait and never raise. Batches, tasks and deadlines call them; a subclass with the
hooks of `transport.py` moves the bytes: `socket_session.py` for sockets, `connection.py` for streams.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from trio_uwsgi._http.access_line import peer_name
from trio_uwsgi._http.exchange import BODY_CUT
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.lingering import Lingering
from trio_uwsgi._http.phases import BLOCKED, BUSY, CLOSED, ENDING, IDLE, SKIPPING
from trio_uwsgi._http.proxy_header import Proxied, ProxyPreface
from trio_uwsgi._http.tls_codec import PLAIN_HTTP
from trio_uwsgi._http.uwsgi_requests import UwsgiParser
from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._http.tls_codec import TlsFailed

logger = logging.getLogger("trio_uwsgi")

# Bytes of an unread request body that are discarded to keep the connection; beyond, a new connection is cheaper.
SKIP: Final = 65536

Parser = RequestParser | UwsgiParser | ProxyPreface
PARSERS: Final[Mapping[str, type[RequestParser | UwsgiParser]]] = {"http": RequestParser, "uwsgi": UwsgiParser}


@mypyc_attr(allow_interpreted_subclasses=True)
class Session(Lingering):
    """One connection with its parser, its phase and its requests."""

    __slots__ = ("exchange", "parser", "phase", "queue", "request")

    def __init__(self, service: HttpService, peer: Peer) -> None:
        super().__init__(service, peer)
        preface = None if service.proxied is None else service.proxied.preface(peer)
        self.parser: Parser = PARSERS[peer.protocol](service.limits) if preface is None else preface
        self.phase = IDLE
        self.exchange: Exchange | None = None  # set while BUSY, and only then
        self.request: Request | None = None  # of the exchange, or being skipped
        self.queue: deque[Request] = deque()
        service.opened(self)
        self._watch(service.header)

    def __repr__(self) -> str:
        name = f"{type(self).__name__} {peer_name(self.peer)} {self.phase.name}"
        return f"<{name} queue={len(self.queue)} pending={self.pending}>"

    # --- input --------------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """The transport read `data`."""
        phase = self.phase
        if phase is IDLE:
            requests = self.parser.feed(data)
            if requests:
                if len(requests) > 1:
                    self.queue.extend(requests[1:])
                self._begin(requests[0])
            elif self.parser.error is not None:
                self._refuse(self.parser.error)
            elif isinstance(self.parser, ProxyPreface) and self.parser.found is not None:
                self._introduced(self.parser.found, self.parser.rest)
            elif self._timer is not self.service.header:
                self._watch(self.service.header)
        elif phase is ENDING:
            self._discard(len(data))
        elif self.exchange is not None and self.exchange.raw and self.exchange.request.complete:
            if self.exchange.received_raw(data):
                self._stop_reading()
            self.retime()
            self._arrived()
        elif phase is not CLOSED:
            self.queue.extend(self.parser.feed(data))
            self._received_early()

    def _introduced(self, found: Proxied, rest: bytes) -> None:
        """A load balancer has said whose connection this is."""
        self.parser = PARSERS[self.peer.protocol](self.service.limits)
        if found.client is not None:
            self.peer = self.peer._replace(client=found.client, server=found.server)
        if rest:
            self._received_first(rest)

    def _received_early(self) -> None:
        """Handle input while a request runs or is skipped: more of its body, or requests that must wait."""
        request = self.request
        if self.phase is SKIPPING and request is not None:
            self._skip(request)
            return
        if self.queue or (request is not None and (request.complete or request.buffered > request.high_water)):
            self._stop_reading()
        error = self.parser.error
        if error is not None and self.exchange is not None and not self.exchange.request.complete:
            self._log_refusal(error)
            self.exchange.cut(error.status_hint, str(error))
        else:
            self.retime()
        self._arrived()

    def received_eof(self) -> None:
        """The transport read the end of the client's input. Responses can still be sent."""
        self.eof = self.hangup = True
        if self.phase in (IDLE, SKIPPING, ENDING):
            self._end()
        elif self.phase is BUSY:
            self.retime()
            self._look_for_client()

    def hung_up(self) -> None:
        """The client sent its last byte; there may be unread input before it."""
        self.hangup = True
        self._look_for_client()

    def _look_for_client(self) -> None:
        """Notify the exchange if it has lost its client, as `Exchange.gone` defines it."""
        if self.exchange is not None and self.exchange.gone:
            self._arrived()
            self.service.client_left(self.exchange)

    def body_wanted(self, request: Request) -> None:
        """The application took the buffered part of its body, or waits for a larger one: read more, if any is left."""
        if self.request is request and not request.complete:
            if not self.queue:
                self._start_reading()
            self.retime()

    # --- requests, one after the other --------------------------------------------------------------------------------

    def _begin(self, request: Request) -> None:
        service = self.service
        if self.parser.error is not None and not request.complete:
            self._refuse(self.parser.error)
            return
        if service.proxies is not None and self.peer.protocol == "http":
            request.origin = service.proxies.origin(request.headers, self.peer)
        self.phase = BUSY
        self.request = request
        driver = service.packets if request.modifier1 else service.driver
        self.exchange = exchange = driver.exchange_type(self, request)
        exchange.driver = driver
        if self.queue:
            self._stop_reading()
        elif self.paused and not request.complete:
            self._start_reading()
        if self.pending or not request.complete:
            self.retime()
        elif self._timer is not None:
            self._timer.since.pop(self, None)
            self._timer = None
        service.began(exchange)
        if self.hangup:
            self._look_for_client()

    def finish(self, exchange: Exchange, data: bytes) -> None:
        """Send `data`, the end of the exchange's response, and begin the next request, or end."""
        request = exchange.request
        self.exchange = None
        if self._arrival is not None:
            self._arrived()
        if data:
            self.write(data)
        access = self.service.access
        if access is not None:
            access.add(exchange, self.service.now())
        if self.phase is not BUSY:
            return
        if not exchange.response.keep_alive:
            self._end(early=exchange.awaits_end)
        elif request.complete:
            if self.pending or self.paused or self.eof or self.service.draining or not self.parser.idle:
                self._next()
            else:  # a shortcut for the usual case, in which `_next` would do the same
                self.phase = IDLE
                self.request = None
                self._watch(self.service.keep_alive)
        else:
            self.phase = SKIPPING
            self._discarded = 0
            self._skip(request)

    def _next(self) -> None:
        self.request = None
        if self.parser.held and not self.queue:
            self.queue.extend(self.parser.feed(b""))
        error = self.parser.error
        if self.pending > HIGH_WATER:
            self.phase = BLOCKED
            self._stop_reading()
            self.retime()
        elif self.queue:
            self._begin(self.queue.popleft())
        elif error is not None:
            self._refuse(error)
        elif self.eof or (self.service.draining and not self.service.others_serve):
            self._end()
        else:  # also if the response's head was sent before the service began to drain: its client was not told
            self.phase = IDLE
            if self.paused:
                self._start_reading()
            self.retime()

    def _skip(self, request: Request) -> None:
        self._discarded += len(request.take_body())
        if self.parser.error is not None and not request.complete:
            self._end()
        elif request.complete:
            self._next()
        elif self._discarded > SKIP or self.eof:
            self._end()
        else:
            self._start_reading()
            self.retime()

    # --- output -------------------------------------------------------------------------------------------------------

    def flushed(self) -> None:
        """The transport has sent everything that was pending."""
        self._space_freed()
        if self.phase is BLOCKED:
            self._next()
        elif self.phase is ENDING:
            self._flushed_last()
        else:
            self.retime()

    def progressed(self) -> None:
        """The transport has sent a part of what was pending."""
        if self.pending <= HIGH_WATER:
            self._space_freed()
        self.retime()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def cut(self, exchange: Exchange, status: int, reason: str) -> None:
        """Abort the exchange: answer `status`, or reset the connection if its response has begun."""
        if self.exchange is not exchange:
            return
        # The client is the cause of whatever error the application raised.
        if status == 500 and self.eof and not exchange.request.complete:
            status, reason = 400, BODY_CUT
        answer = b""
        if not exchange.head_sent:
            exchange.status = status
            answer = self.parser.refusal(status, reason, self.service.date(), exchange.request.method)
        self._log_end(exchange, answer)
        self.exchange = None
        self._arrived()
        if exchange.head_sent:
            self.close(reset=True)
        else:
            self.write(answer)
            self._end()

    def hang_up(self, exchange: Exchange) -> None:
        """The application disconnects its client."""
        if self.exchange is exchange:
            self._log_end(exchange)
            self.exchange = None
            self._arrived()
            self._end()

    def handshake_failed(self, failure: TlsFailed, alert: bytes) -> None:
        """The client does not get as far as HTTP. `alert` is sent as it is, as what is written from now on."""
        if failure.plain:
            self._refuse(RemoteProtocolError(PLAIN_HTTP, 400), early=True)
            return
        logger.info("%s: the TLS handshake failed: %s", peer_name(self.peer), failure)
        if alert:
            self.write(alert)
        self._end(early=True)

    def _refuse(self, error: RemoteProtocolError, *, early: bool = False) -> None:
        self._log_refusal(error)
        parser = self.parser
        self.write(parser.refusal(error.status_hint, str(error), self.service.date(), parser.method))
        self._end(early=early)

    def _log_refusal(self, error: RemoteProtocolError) -> None:
        if isinstance(self.parser, ProxyPreface):  # it answers nothing
            logger.warning("%s: closed without an answer: %s", peer_name(self.peer), error)
            return
        logger.warning("%s: refused with %d: %s", peer_name(self.peer), error.status_hint, error)

    def _end(self, *, early: bool = False) -> None:
        """Answer no more requests; close when the output is flushed and the client had time to read it."""
        if self.phase is CLOSED:
            return
        if self.phase is not ENDING:
            self.phase = ENDING
            # There is unread input, or the rest of a request on its way: otherwise the parser would be idle.
            self._early = early or self.paused or not self.parser.idle
            self._discarded = 0
            self.queue.clear()
        if not self.pending:
            self._flushed_last()
        else:
            self._start_reading()
            self.retime()

    def close(self, *, reset: bool = False) -> None:
        """Close the transport now; `reset` lets the client see that its response was cut."""
        if self.phase is CLOSED:
            return
        self.phase = CLOSED
        self._watch(None)
        self.queue.clear()
        self.pending = 0
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.over = exchange.lost = True
            self._log_end(exchange)
            self.service.client_left(exchange)
        self._arrived()
        self._space_freed()
        self._close(reset)
        self.service.closed(self)

    def drain(self) -> None:
        """The service drains: close if no response is due. The response of a running request closes the connection."""
        if self.phase is IDLE and (self.service.others_serve or self._timer is self.service.header):
            if self.parser.idle:  # a request may be on its way: certainly the first one of a new connection
                self._watch(self.service.linger)
        elif self.phase in (IDLE, SKIPPING):
            self._end()

    def _log_end(self, exchange: Exchange, answer: bytes = b"") -> None:
        """Log a request whose response is not, or not wholly, the application's; `answer` is sent instead."""
        if self.service.access is not None:
            self.service.access.add_cut(exchange, answer, self.service.now())

    # --- time ---------------------------------------------------------------------------------------------------------

    def retime(self) -> None:
        """Start the deadline of what the session waits for now."""
        service = self.service
        phase = self.phase
        if phase is IDLE and not self.pending:
            rest = service.linger if service.draining else service.keep_alive
            self._watch(rest if self.parser.idle else service.header)
        elif phase is CLOSED or self._timer is service.linger:
            pass
        elif self.pending or phase is not BUSY or self._waits_for_body():
            self._watch(service.stall)
        else:
            self._watch(None)

    def _waits_for_body(self) -> bool:
        exchange = self.exchange
        if exchange is None or exchange.request.complete or self.paused or self.eof:
            return False
        return exchange.continued or not exchange.request.expect_continue

    def head_timed_out(self) -> None:
        """The head was not received in time."""
        if self.parser.idle:
            self.close()
        else:
            self._refuse(RemoteProtocolError("the request's head was not received in time", 408))

    def stalled(self) -> None:
        """The client neither sent its body nor read its response for too long."""
        exchange = self.exchange
        if exchange is None or self.pending:
            self.close(reset=True)
        else:
            error = RemoteProtocolError("the request's body was not received in time", 408)
            self._log_refusal(error)
            exchange.cut(408, str(error))
