"""One request and its response, as the drivers see them: the same for sockets and for streams.

An `Exchange` is also the request's unit of work (`_units/unit.py`), which saves an allocation. It passes body bytes to
the application and response bytes to the connection, with back-pressure; the connection before and after is in
`session.py`.

Methods are called on Trio's thread, except `start` and `encode`: a WSGI thread calls those while no other uses the
response.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

import trio
from mypy_extensions import mypyc_attr

from trio_uwsgi._http.access_line import escape
from trio_uwsgi._http.access_record import note_head
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.response import CONTINUE
from trio_uwsgi._units.journal import stack_of, summary
from trio_uwsgi._units.unit import Unit
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_uwsgi._http.interfaces import Driver
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session

logger = logging.getLogger("trio_uwsgi")

# The error for a request whose body is shorter than announced.
BODY_CUT: Final = "the body ended too early"

_GONE: Final = "the client has disconnected, or uwsgi.disconnect() was called: nothing can be sent"

# Errors that show a mistake in the application, whether or not its client is gone.
_MISTAKES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
)


@mypyc_attr(allow_interpreted_subclasses=True)
class Exchange(Unit):
    """One request while its application runs.

    Invariants: `over` is set once, when the response is complete or was aborted; after that nothing of this exchange
    reaches the client. `lost` implies `over`: the client did not get the whole response of the application.
    """

    __slots__ = (
        "abandoned",  # cancelled because the client disconnected, not by a time limit (harakiri)
        "body_read",  # the application has read the end of the body
        "cancelled",  # by the driver
        "continued",  # 100 Continue was sent
        "driver",  # which runs this exchange
        "head_sent",
        "headers",  # of the response, as the application gave them
        "lost",
        "notified",  # the application was informed that its client disconnected early
        "over",
        "raw",  # the application has sent bytes outside of its response, with uwsgi.send()
        "request",
        "response",
        "sent",  # body bytes of the response
        "session",
        "status",
        "trailing",  # the application ends its response with trailers
    )

    awaits_end = False  # after the last byte the client has something to say, and closes then

    def __init__(self, session: Session, request: Request) -> None:
        # Unit.__init__ is not called: it would set the deadline of a scope, and requests share long-lived ones.
        service = session.service
        self.member = service.member
        self.kind = "request"
        self.started = started = service.now()
        self.option_deadline = started + service.limit
        self.user_deadline = math.inf
        self.session = session
        self.request = request
        self.response = session.parser.response_type(request)
        self.driver: Driver
        self.ends = None
        self.status = 0
        self.sent = 0
        self.headers: Iterable[Sequence[bytes]] = ()
        self.abandoned = self.body_read = self.cancelled = self.continued = self.head_sent = self.lost = False
        self.over = self.raw = self.notified = self.trailing = False

    @property
    def name(self) -> str:  # computed when a log needs it, not for every request
        request = self.request
        return f"{escape(request.method.encode('latin-1'))} {escape(request.raw_path or request.target)}"

    # --- up: the request's body ---------------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Is the client gone, as far as we know: for `http.disconnect`, `cancel_on_disconnect`, and judging failures?

        A client that has shut its sending side counts as gone: it looks like one that has closed the connection. It may
        still read, and gets the whole response of an application that does not ask.
        """
        return self.over or self.session.eof or (self.session.hangup and self.request.complete)

    async def receive_body(self) -> bytes:
        """Wait for the next bytes of the body; `b""` at its end. Sends `100 Continue` if the client waits for it.

        Raises:
            ClientDisconnected: the rest of the body will not arrive.
        """
        while (body := self.body_at_hand()) is None:
            self.ask_for_body()
            await self.session.wait_arrival()
        return body

    def body_at_hand(self) -> bytes | None:
        """As `receive_body`; None if that would wait."""
        request = self.request
        if request.buffered:
            body = request.take_body()
            self.session.body_wanted(request)
            return body
        if self.over and self.lost:
            raise self.disconnected("the connection ended before the request's body was received")
        if request.complete:
            return b""
        if self.session.eof or self.over:
            raise self.disconnected("the client closed the connection in the middle of its request's body")
        return None

    def ask_for_body(self) -> None:
        """Send `100 Continue` if the client waits for it. Once, and never after the head of the final response."""
        if self.request.expect_continue and not (self.continued or self.head_sent or self.request.complete):
            self.continued = True
            self.session.write(CONTINUE)
            self.session.retime()

    # --- down: the response -------------------------------------------------------------------------------------------

    def start(self, status: object, headers: Iterable[Sequence[bytes]], reason: bytes = b"") -> None:
        """Set the head of the response; it goes out with the first piece.

        Raises:
            LocalProtocolError: the head is not valid.
        """
        self.response.start(status, headers, reason)
        self.status = self.response.status
        self.headers = headers

    def encode_head(self, piece: bytes) -> bytes:
        """The head alone, if the last piece is so large that a second write is cheaper than a copy.

        `b""` if the head must go with the piece, because the application gave no length.
        """
        if len(piece) < HIGH_WATER or self.response.sent_head:
            return b""
        has_length = any(name.lower() == b"content-length" for name, _ in self.headers)
        return self.encode(b"", True) if has_length else b""

    def encode(self, piece: bytes, more: bool) -> bytes:
        """Turn the next piece of the response into bytes of the connection.

        Raises:
            LocalProtocolError: the piece does not fit what the head promised.
        """
        response = self.response
        service = self.session.service
        request = self.request
        if self.raw:
            raise LocalProtocolError(
                "uwsgi.send() has sent bytes outside of the response: no part of the response can follow"
            )
        if service.draining and not response.sent_head:
            response.keep_alive = False
            if service.streams_end:  # what begins now is told, too
                self.drain()
        elif request.expect_continue and not (self.continued or request.complete):
            # Without 100 Continue a client may send its body or not: the body could be taken for its next request.
            response.keep_alive = False
        data = response.data(piece, more, service.date())
        self.sent += len(piece)
        if service.measures_heads:
            note_head(request, data)
        return data

    def deliver(self, data: bytes, more: bool) -> None:
        """Hand encoded bytes to the connection; without `more` the response is complete. Never waits.

        Raises:
            ClientDisconnected: the client is gone, or the exchange was aborted.
            LocalProtocolError: the response was complete already.
        """
        if self.over:
            if self.lost:
                raise self.disconnected(_GONE)
            raise LocalProtocolError("the response is complete: nothing can be sent after it")
        if not more:
            self.head_sent = self.over = True
            self.session.finish(self, data)
        elif data:
            self.head_sent = True
            self.session.write(data)

    def complete(self, piece: bytes) -> None:
        """Encode and deliver the last piece.

        Raises:
            ClientDisconnected, LocalProtocolError: as `encode` and `deliver`.
        """
        if self.over:
            self.deliver(b"", False)  # raises the fitting error
        if len(piece) >= HIGH_WATER:
            self.deliver(self.encode_head(piece), True)
        data = self.encode(piece, False)
        self.head_sent = self.over = True
        self.session.finish(self, data)

    async def send_piece(self, piece: bytes) -> None:
        """Send a piece that is not the last, and wait until there is space for another.

        Raises:
            ClientDisconnected: as `deliver`.
            LocalProtocolError: as `encode` and `deliver`.
        """
        self.deliver(b"" if self.over else self.encode(piece, True), True)  # raises the fitting error if it is over
        await self.wait_for_space()

    async def wait_for_space(self) -> None:
        """Wait until the client has read enough. Always a checkpoint: an endless response must let others run."""
        if self.session.pending <= HIGH_WATER:
            await trio.lowlevel.checkpoint()
        while self.session.pending > HIGH_WATER and not self.over:
            await self.session.wait_for_space()
        if self.lost:
            raise self.disconnected(_GONE)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are. No response and no other request follow: the application owns the connection.

        Raises:
            ClientDisconnected, LocalProtocolError: as `deliver`.
        """
        if not self.over:
            self.raw = self.response.sent_head = True
            self.response.keep_alive = False
        self.deliver(data, True)
        await self.wait_for_space()

    def received_raw(self, data: bytes) -> bool:
        """Take input that arrived after bytes were sent outside of the response. True: read no more of it for now."""
        request = self.request
        request.chunks.append(data)
        request.buffered += len(data)
        return True

    async def receive_raw(self, size: int) -> bytes:
        """Wait for up to `size` bytes of the request's body; `b""` at its end.

        Once bytes were sent outside of the response: of the body, then of what follows it; `b""` at the end of input.

        Raises:
            ClientDisconnected: as `receive_body`.
            LocalProtocolError: bytes after the body arrived too early, and were read as another request.
        """
        request = self.request
        session = self.session
        data = await self.receive_body()
        while not data and self.raw and not (self.over or session.eof):
            if session.queue or not session.parser.idle:
                raise LocalProtocolError(
                    "bytes arrived before the first uwsgi.send(), and were taken for another request"
                )
            session.read_beyond_request()
            await session.wait_arrival()
            data = await self.receive_body()
        if len(data) > size:
            request.chunks.insert(0, data[size:])
            request.buffered += len(data) - size
        return data[:size]

    async def until_ready(self, writing: bool) -> None:
        """Wait until the client has read enough output; or else until it has sent more input, or disconnected. Input is
        the body and, once bytes were sent outside of the response, what follows it.

        Raises:
            ClientDisconnected: as `wait_for_space`.
        """
        if writing:
            await self.wait_for_space()
            return
        request = self.request
        complete = request.complete
        await trio.lowlevel.checkpoint()
        while not (request.buffered or self.gone or request.complete != complete):
            self.ask_for_body()
            if self.raw and complete:
                self.session.read_beyond_request()
            await self.session.wait_arrival()

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """The worker stops, or is replaced, and it is time for some applications to end: tell this one, if it is one of
        those. WSGI applications ask `uwsgi.stopping()`.
        """

    def end_raw(self) -> None:
        """The application returned, and had sent bytes outside of its response."""
        self.deliver(b"", False)

    def disconnected(self, reason: str) -> ClientDisconnected:
        """The error that informs the application that its client is gone."""
        self.set_notified()
        return ClientDisconnected(reason)

    def set_notified(self) -> None:
        """Remember that the application was informed, if its client was gone before the response was complete."""
        self.notified |= self.lost or not self.over

    def failed(self, error: BaseException) -> bool:
        """End the response of an application that raised. True: it is a failure, which is to be reported.

        It is not if the client was gone first and the application was informed: then the error is how its framework
        ends a request without a client. An error that shows a mistake in the application, as in its clean-up, is a
        failure all the same, unless ours is its cause.
        """
        if self.notified and _because_of_client(error):
            logger.debug(
                "%s: %s ended because its client disconnected: %s", self.member.name, self.what, summary(error)
            )
            self.leave_unanswered()
            return False
        shown = self.session.service.options.catch_exceptions
        self.cut(500, stack_of(error) if shown else "Internal Server Error")
        return True

    def leave_unanswered(self) -> None:
        """End an exchange whose client is gone and whose application has returned."""
        if self.request.complete:
            self.drop()
        else:
            self.cut(400, BODY_CUT)

    def hang_up(self) -> None:
        """Close the connection once all output is flushed; sending more is an error. The application continues."""
        if not self.over:
            self.over = self.lost = True
            self.session.hang_up(self)

    def drop(self) -> None:
        """Discard the response and close: the client is gone. Does nothing to an exchange that is over."""
        if not self.over:
            self.session.close(reset=True)

    def cut(self, status: int, reason: str) -> None:
        """Abort the response: answer `status` if that is possible, otherwise reset the connection to show the client.

        Does nothing to an exchange that is over.
        """
        if self.over:
            return
        self.over = True
        self.lost = True
        self.session.cut(self, status, reason)


def _because_of_client(error: BaseException) -> bool:
    """May the application have raised this because it was informed that its client is gone?"""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_because_of_client, error.exceptions))
    if isinstance(error, ClientDisconnected) or (isinstance(error, Exception) and not isinstance(error, _MISTAKES)):
        return True
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, ClientDisconnected):
            return True
        seen.add(id(cause))
        cause = cause.__cause__
    return False
