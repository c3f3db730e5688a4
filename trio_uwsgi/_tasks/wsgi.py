"""Runs a WSGI application (PEP 3333): every request in a thread of the member's pool. Floor 2.

How it runs without threads is in `wsgi_inline.py`, which has its exchanges from here.

A thread never touches a connection. A response that is complete at once is encoded in the thread and comes back with
the job's end, in one hop; pieces go to Trio's thread as they are made, and the thread waits there when the client is
slow, or for more of the request's body. Such waits are Trio's, so harakiri cancels them; a thread that does anything
else is given up by the pool.
"""

from __future__ import annotations

import functools
import io
import math
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple

import outcome
import trio

from trio_uwsgi._tasks.exchange import MARK, Exchange
from trio_uwsgi._tasks.failures import is_interrupt
from trio_uwsgi._tasks.stuck import location
from trio_uwsgi._tasks.waits import Wait, registered_waits
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError, ThreadCancelled

if TYPE_CHECKING:
    from trio_uwsgi._tasks.service import HttpService
    from trio_uwsgi._tasks.session import Session
    from trio_uwsgi._tasks.threads import Job, ThreadPool
    from trio_uwsgi._wire.request import Request

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
# PEP 3333's own types: an environ holds whatever its keys say.
WsgiApp = Callable[[dict[str, Any], Callable[..., Callable[[bytes], object]]], Iterable[bytes]]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A list of pieces is sent as one up to this size; larger ones go piece by piece, because joining would copy them.
JOINED = 262144


class Readable(Protocol):
    """What `wsgi.file_wrapper` wraps."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, `b""` at the end."""


class FileWrapper:
    """`wsgi.file_wrapper`: the blocks of a file as an iterable that closes it."""

    def __init__(self, filelike: Readable, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.filelike.read(self.block_size):
            yield block

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


class BodyStream(io.RawIOBase):
    """A body that is still on its way; `wsgi.input` is a buffer of 64 KiB around it.

    Used by the application's thread, which waits in Trio for what has not arrived.
    """

    def __init__(self, exchange: WsgiExchange) -> None:
        self._exchange = exchange
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # typeshed's WriteableBuffer is not importable at run time
        if not self._rest:
            if self._exchange.over and self._exchange.lost:
                raise ClientDisconnected("the connection ended before the request's body was received")
            if self._exchange.peeking:
                return None
            self._rest = memoryview(self._exchange.next_body())
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class WsgiExchange(Exchange):
    """An exchange with the application's `start_response` and `write`, which its thread calls."""

    __slots__ = ("_unwaited", "environ", "given", "input", "job", "peeking", "taken", "watch")

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.job: Job[bytes | None]
        self.environ: dict[str, object]
        self.input: io.BytesIO | io.BufferedReader | None = None  # wsgi.input, while the application runs
        self.peeking = False  # nobody may wait in it
        self.watch: trio.CancelScope | None = None  # of the task that sleeps until the user's deadline
        self.given = 0  # pieces the thread has passed on; written by the thread
        self.taken = 0  # of those, pieces that have arrived on Trio's thread; written there
        self._unwaited = 0  # bytes on their way to Trio's thread since we last waited for the client

    def set_user_deadline(self, deadline: float) -> None:
        """As `Unit.set_user_deadline`; a thread has no scope of its own, so a task watches it."""
        self.user_deadline = deadline
        driver = self.session.service.driver
        assert isinstance(driver, WsgiDriver)
        driver.watch_user_deadline(self)

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
        self._pass_on(self.encode(piece, True))

    async def receive_raw(self, size: int) -> bytes:
        """As `Exchange.receive_raw`, after what `wsgi.input` has read ahead. Its thread waits for this."""
        data = b""
        if self.input is not None:
            self.peeking = True
            try:
                data = self.input.read1(size)
            finally:
                self.peeking = False
        return data or await super().receive_raw(size)

    async def until_ready(self, writing: bool) -> None:
        """As `Exchange.until_ready`, which does not know what `wsgi.input` has read ahead."""
        if writing or not self._has_read_ahead():
            await super().until_ready(writing)

    def _has_read_ahead(self) -> bool:
        source = self.input
        if source is None or isinstance(source, io.BytesIO):
            return source is not None and source.tell() < len(source.getbuffer())
        self.peeking = True
        try:
            return bool(source.peek(1))
        finally:
            self.peeking = False

    def call_trio(self, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Wait, in the application's code, for what Trio does."""
        return trio.from_thread.run(func, *args)

    def next_body(self) -> bytes:
        """As `Exchange.receive_body`, in the application's code."""
        return self.call_trio(self.receive_body)

    def _pass_on(self, data: bytes) -> None:
        if not data:  # an endless body that is not sent must not become an endless queue
            return
        self._unwaited += len(data)
        if self._unwaited <= MARK:
            self.soon(data, True)
        else:
            self._unwaited = 0
            self.call_trio(self._deliver_and_wait, data)

    async def _deliver_and_wait(self, data: bytes) -> None:
        self.deliver(data, True)
        await self.wait_room()

    def soon(self, data: bytes, more: bool) -> None:
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
        if request.complete:
            self.input = io.BytesIO(request.take_body())
        else:
            self.input = io.BufferedReader(BodyStream(self), 65536)
        environ["wsgi.input"] = self.input
        result = app(environ, self.start_response)
        close = getattr(result, "close", None)
        if close is None:
            return self.respond(result)
        try:
            end = self.respond(result)
            if end is not None:
                self.soon(end, False)  # the client does not wait for `close`
        finally:
            close()
        return None

    def respond(self, result: Iterable[bytes]) -> bytes | None:
        """Send what the application returned; a response that needs nothing more is returned instead."""
        if isinstance(result, list | tuple) and not (self.response.sent_head or self.over):
            if len(result) == 1:
                piece = _checked(result[0])
                if len(piece) >= MARK:
                    self.soon(self.encode_head(piece), True)
                return self.encode(piece, False)
            if sum(map(len, result)) <= JOINED:
                return self.encode(b"".join(result), False)
        pieces = iter(result)
        for piece in pieces:
            if not _checked(piece):
                self._commit_waits()
                continue
            if self.over:
                self.deliver(b"", True)  # raises what fits
            data = self.encode(piece, True)
            if self.response.left == 0:
                # All that was promised: the client does not wait for what the application does before its end.
                self.soon(data + self.encode(b"", False), False)
                self._exhaust(pieces)
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

    def _exhaust(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            if piece:
                raise LocalProtocolError("the application sent more bytes than its content-length said")


def _checked(piece: object) -> bytes:
    if type(piece) is bytes or type(piece) is Wait:
        return piece  # a wait is bytes, too
    raise LocalProtocolError(f"the application returned a piece of type {type(piece).__name__}; it must be bytes")


def base_environ(*, multithread: bool, multiprocess: bool) -> dict[str, object]:
    """What the environs of all requests have in common."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,  # reading to the end is safe, whatever the body's framing
    }


class WsgiDriver:
    """Runs `app` for the exchanges of one service.

    Args:
        app: the application.
        threads: where it runs.
        multithread: whether two requests may run at once in this process.
        multiprocess: whether other processes run the same application.
    """

    exchange_type = WsgiExchange

    def __init__(self, app: WsgiApp, threads: ThreadPool, *, multithread: bool, multiprocess: bool) -> None:
        self._app = app
        self._threads = threads
        self._base = base_environ(multithread=multithread, multiprocess=multiprocess)
        self._nursery: trio.Nursery
        self._service: HttpService

    async def serve(
        self, service: HttpService, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch the users' deadlines until cancelled. The threads are the member's."""
        self._service = service
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def begin(self, exchange: Exchange) -> None:
        """Queue the exchange for a thread."""
        assert isinstance(exchange, WsgiExchange)
        done = functools.partial(self._done, exchange)
        try:
            exchange.job = self._threads.submit(exchange.run, self._app, self._base, unit=exchange, done=done)
        except trio.ClosedResourceError:  # the worker is being stopped hard, and this batch was its last
            exchange.cut(503, "Service Unavailable")
            self._service.ended(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """Cancel the thread's wait, or give the thread up. The end of the job is reported as usual."""
        assert isinstance(exchange, WsgiExchange)
        exchange.cancelled = True
        self._threads.cancel(exchange.job)

    def watch_user_deadline(self, exchange: WsgiExchange) -> None:
        """Enforce the exchange's newest user deadline, and no older one."""
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
        """On Trio's thread, above nobody but Trio: the application's job ended. Must not raise."""
        if exchange.taken != exchange.given and not exchange.cancelled:
            # The pool tells of several ends at once, so this one may have overtaken what its thread passed on before.
            self._service.token.run_sync_soon(self._done, exchange, result)
            return
        if exchange.watch is not None:
            exchange.watch.cancel()
        exchange.input = None
        exchange.environ = {}  # whose wsgi.input knows the exchange: the two would keep each other alive
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
            if exchange.abandoned:
                exchange.drop()
            else:
                exchange.cut(504, "Gateway Timeout")
                calls.expired(exchange, error.where if isinstance(error, ThreadCancelled) else location(error))
            return
        lost = exchange.lost
        exchange.cut(500, "Internal Server Error")
        if lost and isinstance(error, ClientDisconnected):
            return
        try:
            calls.failed(exchange, error)
            if is_interrupt(error):  # it ends the runtime, as it does from a task
                self._nursery.start_soon(_raise, error)
        except Exception as strict:  # a strict journal raises, in a callback of Trio's
            self._nursery.start_soon(_raise, strict)


async def _raise(error: BaseException) -> None:
    raise error
