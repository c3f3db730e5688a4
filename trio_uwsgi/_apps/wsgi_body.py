"""An exchange whose application reads the request's body as a file: `wsgi.input`.

The application's code reads it in a thread, or on Trio's own; Trio's thread receives it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import trio
from mypy_extensions import mypyc_attr

from trio_uwsgi._http.exchange import BODY_CUT, Exchange
from trio_uwsgi._http.limits import HIGH_WATER, WHOLE_BODIES, WHOLE_BODY

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session

__all__ = ["BodyExchange"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@mypyc_attr(allow_interpreted_subclasses=True)
class BodyExchange(Exchange):
    """An exchange with a body for synchronous code."""

    __slots__ = ("input", "peeking", "thread", "waiting")

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.thread = 0  # the one that runs the application
        self.input: io.BytesIO | io.BufferedReader | None = None  # wsgi.input, while the application runs
        self.peeking = False  # no thread may wait in `input`
        self.waiting = False  # a thread waits in `input`

    def reserve_body(self) -> bool:
        """Can the whole body wait in memory for the application? Then that is reserved until the exchange has ended."""
        length = self.request.content_length
        if length is None or length > WHOLE_BODY:
            return False
        if length > HIGH_WATER:
            service = self.session.service
            if service.reserved + length > WHOLE_BODIES:
                return False
            service.reserved += length
            self.request.high_water = length
            self.at_end(self._free_body)
        return True

    def _free_body(self) -> None:
        self.session.service.reserved -= self.request.content_length or 0

    async def until_body(self) -> bool:
        """Wait until the body, or as much of it as waits in memory, has arrived. False: there is no client to respond
        to.
        """
        request, session = self.request, self.session
        self.ask_for_body()
        while not (request.complete or request.buffered > request.high_water or session.eof or self.over):
            await session.wait_arrival()
        if session.eof and not request.complete:
            self.cut(400, BODY_CUT)
        return not self.over

    async def receive_raw(self, size: int) -> bytes:
        """As `Exchange.receive_raw`, but first what `wsgi.input` has read ahead. Its thread waits meanwhile."""
        data = self._peek(lambda source: source.read1(size))
        return data or await super().receive_raw(size)

    async def until_ready(self, writing: bool) -> None:
        """As `Exchange.until_ready`, but ready at once if `wsgi.input` has read ahead."""
        if writing or not self._has_read_ahead():
            await super().until_ready(writing)

    def _has_read_ahead(self) -> bool:
        source = self.input
        if isinstance(source, io.BytesIO):
            return source.tell() < len(source.getbuffer())
        return bool(self._peek(lambda source: source.peek(1)))

    def _peek(self, look: Callable[[Any], bytes]) -> bytes:
        """On Trio's thread: read what `wsgi.input` has buffered, without waiting for more or for another thread."""
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
        """Run an async function on Trio's thread, and wait for it in the application's code.

        A thread that the application has started waits for the result, or until the exchange is over.
        """
        if threading.get_ident() == self.thread:
            return trio.from_thread.run(func, *args)
        return trio.from_thread.run(func, *args, trio_token=self.session.service.token)

    def next_body(self, wanted: int) -> bytes:
        """As `Exchange.receive_body`, in the application's code, which waits for so many bytes, or the body's end."""
        return self.call_trio(self._receive_wanted, wanted)

    async def _receive_wanted(self, wanted: int) -> bytes:
        request, session = self.request, self.session
        request.high_water = max(wanted, HIGH_WATER)
        try:
            while request.buffered < wanted and not (request.complete or session.eof or self.over):
                self.ask_for_body()
                session.body_wanted(request)
                await session.wait_arrival()
            return await self.receive_body()
        finally:
            request.high_water = HIGH_WATER

    def next_piece(self) -> bytes:
        """The next bytes of the body, in the application's code; `b""` at its end.

        Raises:
            ClientDisconnected: the rest of the body will not arrive.
        """
        assert self.input is not None
        return self.input.read1(65536)

    def piece_at_hand(self) -> bytes | None:
        """As `next_piece`; None if that would wait."""
        return self.call_trio(self._piece_at_hand)

    def piece_arrives(self, seconds: float) -> bool:
        """Wait until `next_piece` would not, in the application's code. False: not within this time."""
        return self.request.complete or self.call_trio(self._piece_arrives, seconds)

    async def _piece_at_hand(self) -> bytes | None:
        await trio.lowlevel.checkpoint()  # so that more can arrive
        return self._taken_piece()

    async def _piece_arrives(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self.until_ready(False)
            return True
        return False

    def _taken_piece(self) -> bytes | None:
        piece = self._peek(lambda source: source.read1(65536)) or self.body_at_hand()
        if piece is None:
            self.ask_for_body()
        return piece
