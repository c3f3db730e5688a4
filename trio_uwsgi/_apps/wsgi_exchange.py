"""An exchange of a WSGI application (PEP 3333): its environ, `start_response`, `write`, and what it returns.

`wsgi_threads.py` runs it in a thread of the member's pool. `wsgi_inline.py` has a subclass for Trio's own thread.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

import trio

from trio_uwsgi._apps.async_cores import Wait, registered_waits
from trio_uwsgi._apps.wsgi_streams import BodyStream, FileWrapper
from trio_uwsgi._http.exchange import BODY_CUT, Exchange
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_threads import WsgiDriver
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session
    from trio_uwsgi._units.thread_pool import Job

__all__ = ["WsgiApp", "WsgiExchange"]

logger = logging.getLogger("trio_uwsgi")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
# PEP 3333's own types: an environ holds whatever its keys say.
WsgiApp = Callable[[dict[str, Any], Callable[..., Callable[[bytes], object]]], Iterable[bytes]]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A list of pieces is sent as one up to this size; larger ones go piece by piece, because joining would copy them.
JOINED = 262144


class WsgiExchange(Exchange):
    """An exchange with the application's `start_response` and `write`, which its thread calls."""

    __slots__ = ("_unwaited", "environ", "given", "input", "job", "peeking", "taken", "thread", "waiting", "watch")

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.job: Job[bytes | None] | None = None
        self.thread = 0  # which runs the application
        self.environ: dict[str, object]
        self.input: io.BytesIO | io.BufferedReader | None = None  # wsgi.input, while the application runs
        self.peeking = False  # nobody may wait in it
        self.waiting = False  # a thread does
        self.watch: trio.CancelScope | None = None  # of the task that sleeps until the user's deadline
        self.given = 0  # pieces the thread has passed on; written by the thread
        self.taken = 0  # of those, pieces that have arrived on Trio's thread; written there
        self._unwaited = 0  # bytes on their way to Trio's thread since we last waited for the client

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`; a thread has no scope of its own, so a task watches it."""
        self.user_deadline = deadline
        cast("WsgiDriver", self.driver).watch_user_deadline(self)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's `start_response`."""
        if exc_info is not None:
            try:
                if self.response.sent_head:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: avoid the reference cycle through the traceback
        elif self.response.started:
            raise LocalProtocolError("the application called start_response twice without exc_info")
        if not status[:3].isdecimal() or status[3:4] not in (" ", ""):
            raise LocalProtocolError(f"the application's status is {status!r}; it must be like '200 OK'")
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.start(int(status[:3]), pairs, status[4:].encode("latin-1"))
        return self.write

    def write(self, piece: bytes) -> None:
        """PEP 3333's `write`: send a piece, and wait here while the client has much unread.

        Raises:
            ClientDisconnected: the client left.
        """
        if self.over:
            self.deliver(b"", True)  # raises what fits
        self._pass_on(self.encode(_checked(piece), True))

    async def until_body(self) -> bool:
        """Wait until the body is there, or as much of it as a connection holds. False: nobody waits for a response."""
        request, session = self.request, self.session
        self.ask_for_body()
        while not (request.complete or request.buffered > HIGH_WATER or session.eof or self.over):
            await session.wait_arrival()
        if session.eof and not request.complete:
            self.cut(400, BODY_CUT)
        return not self.over

    async def receive_raw(self, size: int) -> bytes:
        """As `Exchange.receive_raw`, after what `wsgi.input` has read ahead. Its thread waits for this."""
        data = self._peek(lambda source: source.read1(size))
        return data or await super().receive_raw(size)

    async def until_ready(self, writing: bool) -> None:
        """As `Exchange.until_ready`, which does not know what `wsgi.input` has read ahead."""
        if writing or not self._has_read_ahead():
            await super().until_ready(writing)

    def _has_read_ahead(self) -> bool:
        source = self.input
        if isinstance(source, io.BytesIO):
            return source.tell() < len(source.getbuffer())
        return bool(self._peek(lambda source: source.peek(1)))

    def _peek(self, look: Callable[[Any], bytes]) -> bytes:
        """On Trio's thread: what `wsgi.input` has, without waiting for more, or for a thread that waits in it."""
        if self.input is None:
            return b""
        if self.waiting:
            raise trio.BusyResourceError("another thread waits in wsgi.input for the rest of this request's body")
        self.peeking = True
        try:
            return look(self.input)
        finally:
            self.peeking = False

    def call_trio(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Wait, in the application's code, for what Trio does.

        Another thread of the application than its request's waits until then, or until the exchange is over.
        """
        if threading.get_ident() == self.thread:
            return trio.from_thread.run(func, *args)
        return trio.from_thread.run(func, *args, trio_token=self.session.service.token)

    def next_body(self) -> bytes:
        """As `Exchange.receive_body`, in the application's code."""
        return self.call_trio(self.receive_body)

    def _pass_on(self, data: bytes) -> None:
        if not data:  # an endless body that is not sent must not become an endless queue
            return
        self._unwaited += len(data)
        if self._unwaited <= HIGH_WATER:
            self.deliver_soon(data, True)
        else:
            self._unwaited = 0
            self.call_trio(self._deliver_and_wait, data)

    async def _deliver_and_wait(self, data: bytes) -> None:
        self.deliver(data, True)
        await self.wait_for_space()

    def deliver_soon(self, data: bytes, more: bool) -> None:
        """From the thread: deliver on Trio's thread, without waiting for it."""
        self.given += 1
        self.session.service.token.run_sync_soon(self._deliver, data, more)

    def _deliver(self, data: bytes, more: bool) -> None:
        self.taken += 1
        if not self.over:
            self.deliver(data, more)

    def run(self, app: WsgiApp, base: dict[str, object]) -> bytes | None:
        """Call the application and send its response. Returns the end of it, if it was not sent yet."""
        request = self.request
        self.environ = environ = request.wsgi_environ(self.session.peer, base)
        self.thread = threading.get_ident()
        if request.complete:
            body = request.take_body()
            if request.chunked:  # which many frameworks take for no body at all
                environ["CONTENT_LENGTH"] = str(len(body))
                environ.pop("HTTP_TRANSFER_ENCODING", None)
            self.input = io.BytesIO(body)
        else:
            if request.content_length is not None:
                # Frameworks that count would trust us instead, and not see that a client left early is a 400.
                environ.pop("wsgi.input_terminated", None)
            self.input = io.BufferedReader(BodyStream(self), 65536)
        environ["wsgi.input"] = self.input
        result = app(environ, self.start_response)
        close = getattr(result, "close", None)
        if close is None:
            return self.respond(result)
        try:
            end = self.respond(result)
            if end is not None:
                self.deliver_soon(end, False)  # the client does not wait for `close`
        finally:
            close()
        return None

    def respond(self, result: Iterable[bytes]) -> bytes | None:
        """Send what the application returned, as far as its Content-Length allows; a response that needs nothing more
        is returned instead.
        """
        response = self.response
        if isinstance(result, list | tuple) and not (response.sent_head or self.over):
            if len(result) == 1:
                piece = _checked(result[0])
                if 0 <= response.left < len(piece):
                    piece = self._cut_off(piece)
                if len(piece) >= HIGH_WATER:
                    self.deliver_soon(self.encode_head(piece), True)
                return self.encode(piece, False)
            result = list(map(_checked, result))
            if sum(map(len, result)) <= JOINED:
                piece = b"".join(result)
                return self.encode(self._cut_off(piece) if 0 <= response.left < len(piece) else piece, False)
        pieces = iter(result)
        for given in pieces:
            piece = _checked(given)
            if not piece:
                self._commit_waits()
                continue
            if self.over:
                self.deliver(b"", True)  # raises what fits
            whole = True
            if 0 <= response.left < len(piece):
                piece = piece[: response.left] if isinstance(result, FileWrapper) else self._cut_off(piece)
                whole = False
            data = self.encode(piece, True)
            if response.left == 0:
                # All that was promised: the client does not wait for what the application does before its end.
                self.deliver_soon(data + self.encode(b"", False), False)
                if whole and next(pieces, b"") and not isinstance(result, FileWrapper):  # it may have code behind it
                    self._cut_off(b"")
                return None
            self._pass_on(data)
            if self.request.method == "HEAD":
                break
        return b"" if self.raw or self.over else self.encode(b"", False)

    def _commit_waits(self) -> None:
        """The application yielded nothing, which in uWSGI's async modes commits its waits: wait for the first of them.

        The environ says afterwards which descriptor was ready, or that the time was up.
        """
        waits = registered_waits()
        if waits is not None and waits.registered:
            ready = self.call_trio(waits.commit)
            self.environ["uwsgi.ready_fd"] = None if ready < 0 else ready
            self.environ["x-wsgiorg.fdevent.timeout"] = True if ready < 0 else None

    def _cut_off(self, piece: bytes) -> bytes:
        """The application has more bytes than it promised: give what may be sent of them."""
        message = "%s: %s: the application's body is longer than its content-length; the rest was not sent"
        logger.warning(message, self.member.name, self.what)
        return piece[: self.response.left]


def _checked(piece: object) -> bytes:
    if type(piece) is bytes or type(piece) is Wait:
        return piece  # a wait is bytes, too
    if isinstance(piece, bytes):
        return bytes(memoryview(piece))  # what it is, whatever its class makes of its methods
    raise LocalProtocolError(f"the application returned a piece of type {type(piece).__name__}; it must be bytes")
