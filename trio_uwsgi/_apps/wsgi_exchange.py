"""An exchange of a WSGI application (PEP 3333): its environ, `start_response`, `write`, and what it returns.

`wsgi_threads.py` runs it in a thread of the member's pool. `wsgi_inline.py` has a subclass for Trio's own thread.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from mypy_extensions import mypyc_attr

from trio_uwsgi._apps.app_files import wrapped_file
from trio_uwsgi._apps.async_cores import Wait, registered_waits
from trio_uwsgi._apps.wsgi_body import BodyExchange
from trio_uwsgi._apps.wsgi_streams import BodyReader, FileWrapper
from trio_uwsgi._http.early_hints import encode_hints, write_hints
from trio_uwsgi._http.file_sending import send_file
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.response_headers import encoded_headers
from trio_uwsgi._system.forks import end_forked_child, forks_to_here
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import LocalProtocolError, NotServing

if TYPE_CHECKING:
    import trio

    from trio_uwsgi._apps.wsgi_threads import WsgiDriver
    from trio_uwsgi._http.open_file import OpenFile
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session
    from trio_uwsgi._units.thread_pool import Job

__all__ = ["WsgiApp", "WsgiExchange", "send_early_hints"]

logger = logging.getLogger("trio_uwsgi")

# The types of PEP 3333: the values of an environ depend on their keys.
WsgiApp = Callable[[dict[str, Any], Callable[..., Callable[[bytes], object]]], Iterable[bytes]]

# A list of pieces is sent as one up to this size; larger ones go piece by piece, because joining would copy them.
JOINED: Final = 262144
# What is sent as one, if it is not too large; a tuple, because `list | tuple` would be made anew for each request.
_WHOLE: Final = (list, tuple)

# Applications use few status lines, but clients may make them echo others: the cache is bounded.
_CACHED: Final = 1024
_statuses: Final[dict[object, tuple[int, bytes]]] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class WsgiExchange(BodyExchange):
    """An exchange with `start_response` and `write`, which the application calls in its thread."""

    __slots__ = ("_unwaited", "environ", "given", "job", "taken", "watch")

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.job: Job[bytes | None] | None = None
        self.environ: dict[str, object]
        self.watch: trio.CancelScope | None = None  # of the task that sleeps until the deadline set by the user's code
        self.given = 0  # pieces that the thread has sent to Trio's thread; written by the thread
        self.taken = 0  # of those, pieces that have arrived; written by Trio's thread
        self._unwaited = 0  # bytes on their way to Trio's thread since we last waited for the client

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`; a thread has no scope of its own, so a task watches it."""
        self.user_deadline = deadline
        cast("WsgiDriver", self.driver).watch_user_deadline(self)

    def start_response(
        self, status: object, headers: Iterable[Sequence[str]], exc_info: Sequence[Any] | None = None
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
        try:
            number, reason = _statuses.get(status) or _split_status(status)
            pairs = encoded_headers(headers)
        except (AttributeError, TypeError, ValueError) as error:
            raise LocalProtocolError(
                "start_response takes a str such as '200 OK', and a list of pairs of str, all in latin-1"
            ) from error
        self.start(number, pairs, reason)
        return self.write

    def write(self, piece: object) -> None:
        """PEP 3333's `write`: send a piece, and wait while the client has too much unread.

        Raises:
            ClientDisconnected: the client disconnected.
        """
        if self.over:
            self.deliver(b"", True)  # raises the fitting error
        self._pass_on(self.encode(_checked(piece), True))

    def hint_soon(self, data: bytes) -> None:
        """Called in the thread: send early hints on Trio's thread, before the pieces that the thread sends later."""
        self.given += 1
        self.session.service.token.run_sync_soon(self._hint, data)

    def _hint(self, data: bytes) -> None:
        self.taken += 1
        write_hints(self, data)

    def _pass_on(self, data: bytes) -> None:
        if not data:  # empty pieces of an endless body must not become an endless queue
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
        """Called in the thread: deliver on Trio's thread, without waiting for that."""
        self.given += 1
        self.session.service.token.run_sync_soon(self._deliver, data, more)

    def _deliver(self, data: bytes, more: bool) -> None:
        self.taken += 1
        if not self.over:
            self.deliver(data, more)

    def run(self, app: WsgiApp, base: dict[str, object]) -> bytes | None:
        """Call the application and send its response. Returns the last part, if it was not sent yet."""
        request = self.request
        self.environ = environ = request.wsgi_environ(self.session.peer, base)
        self.thread = threading.get_ident()
        if request.complete:
            if request.chunked:  # many frameworks take this for no body at all
                environ["CONTENT_LENGTH"] = str(request.buffered)
                environ.pop("HTTP_TRANSFER_ENCODING", None)
            # The pieces of a large body are not joined, which would be one more copy.
            self.input = io.BytesIO(request.take_body()) if request.buffered <= HIGH_WATER else BodyReader(self)
        else:
            if request.content_length is not None:
                # Otherwise frameworks would read to the end without counting, and not see a body that is cut.
                environ.pop("wsgi.input_terminated", None)
            self.input = BodyReader(self)
        environ["wsgi.input"] = self.input
        forks = forks_to_here()
        result = app(environ, self.start_response)
        if forks_to_here() != forks:
            end_forked_child(None)
        # Looking for what is not there is slow.
        close = None if type(result) is list else getattr(result, "close", None)
        if close is None:
            return self.respond(result)
        try:
            end = self.respond(result)
            if end is not None:
                self.deliver_soon(end, False)  # the client does not wait for `close`
        finally:
            close()
        return None

    def respond(self, result: Iterable[object]) -> bytes | None:
        """Send what the application returned, as far as its Content-Length allows. Returns the last part, if it was not
        sent yet.
        """
        response = self.response
        if isinstance(result, bytes):  # its items are numbers; uWSGI takes it for the body
            result = (result,)
        if isinstance(result, _WHOLE) and not (response.sent_head or self.over):
            if len(result) == 1:
                piece = _checked(result[0])
                if 0 <= response.left < len(piece):
                    piece = self._cut_off(piece)
                if len(piece) >= HIGH_WATER:
                    self.deliver_soon(self.encode_head(piece), True)
                return self.encode(piece, False)
            result = checked = list(map(_checked, result))
            if sum(map(len, checked)) <= JOINED:
                piece = b"".join(checked)
                return self.encode(self._cut_off(piece) if 0 <= response.left < len(piece) else piece, False)
        if isinstance(result, FileWrapper) and not self.over and self._send_wrapped(result):
            return None
        try:
            pieces = iter(() if isinstance(result, bool) else result)  # True is what `uwsgi.sendfile` returns
        except TypeError as error:
            kind = type(result).__name__
            raise LocalProtocolError(f"the application returned {kind}; it must be an iterable of bytes") from error
        for given in pieces:
            piece = _checked(given)
            if not piece:
                self._commit_waits()
                continue
            if self.over:
                self.deliver(b"", True)  # raises the fitting error
            whole = True
            if 0 <= response.left < len(piece):
                piece = piece[: response.left] if isinstance(result, FileWrapper) else self._cut_off(piece)
                whole = False
            data = self.encode(piece, True)
            if response.left == 0:
                # The Content-Length is reached: the client need not wait until the application returns.
                self.deliver_soon(data + self.encode(b"", False), False)
                if (
                    whole and next(pieces, b"") and not isinstance(result, FileWrapper)
                ):  # there may be code after the last piece
                    self._cut_off(b"")
                return None
            self._pass_on(data)
            if self.request.method == "HEAD":
                break
        return b"" if self.raw or self.over else self.encode(b"", False)

    def _send_wrapped(self, wrapper: FileWrapper) -> bool:
        """Send a real file without reading it here, as far as the Content-Length allows. False: it is none."""
        wrapped = wrapped_file(wrapper.filelike)
        if wrapped is None:
            return False
        file, offset, size = wrapped
        left = self.response.left
        self.send_file(file, offset, min(size, left) if left >= 0 else size)
        return True

    def send_file(self, file: OpenFile, offset: int, count: int, more: bool = False) -> None:
        """Send a part of a file, and wait until the client has it; without `more` it is the end of the response."""
        self._unwaited = 0
        self.call_trio(send_file, self, file, offset, count, more)

    def _commit_waits(self) -> None:
        """Wait for the first of the registered waits: as in uWSGI's async modes, an empty piece commits them.

        Afterwards the environ has the descriptor that was ready, or the timeout.
        """
        waits = registered_waits()
        if waits is not None and waits.registered:
            ready = self.call_trio(waits.commit)
            self.environ["uwsgi.ready_fd"] = None if ready < 0 else ready
            self.environ["x-wsgiorg.fdevent.timeout"] = True if ready < 0 else None

    def _cut_off(self, piece: bytes) -> bytes:
        """Log that the body is longer than its Content-Length, and return the part of the piece that may be sent."""
        message = "%s: %s: the application's body is longer than its content-length; the rest was not sent"
        logger.warning(message, self.member.name, self.what)
        return piece[: self.response.left]


def send_early_hints(headers: Iterable[Sequence[str]]) -> None:
    """`environ["wsgi.early_hints"]`: send headers, most of them `Link`, before the response. Never waits.

    It finds the request by its context, so that an environ costs nothing for it.

    Raises:
        LocalProtocolError: a header cannot be sent, or the response has begun.
        NotServing: not called in the application's request, but for example in a thread that it has started.
    """
    exchange = UNIT.get(None)
    if not isinstance(exchange, WsgiExchange):
        raise NotServing(
            'environ["wsgi.early_hints"]', "call it in the application's own thread", "outside of a request"
        )
    data = encode_hints(exchange, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
    exchange.hint_soon(data)


def _split_status(status: object) -> tuple[int, bytes]:
    """Split a status line into its number and its reason."""
    if not isinstance(status, str):
        raise TypeError(status)
    if not status[:3].isdecimal() or status[3:4] not in (" ", ""):
        raise LocalProtocolError(f"the application's status is {status!r}; it must be like '200 OK'")
    split = int(status[:3]), status[4:].encode("latin-1")
    if len(_statuses) < _CACHED:
        _statuses[status] = split
    return split


def _checked(piece: object) -> bytes:
    if type(piece) is bytes or type(piece) is Wait:
        return piece  # a wait is bytes, too
    if isinstance(piece, bytes):
        return bytes(memoryview(piece))  # the real bytes, even if a subclass overrides methods
    raise LocalProtocolError(f"the application returned a piece of type {type(piece).__name__}; it must be bytes")
