"""The link between the master and one member.

Both ends `obey` frames in a plain function that never waits, so a link only passes a frame to the other end:
`direct_links` calls the other end's `obey` at once (for a member that is a task of this process), `StreamLink` sends
bytes over any Trio stream (for a member that is a process, and for placement "memory"). Neither end knows which kind it
has.

Frames in bytes are written before `send` returns, because user code that runs next may end this process. Only what is
sent while frames from the other end are obeyed is gathered (`Batch`), and written when all that have arrived are
obeyed: under load, one system call and one answer for many frames.

A `Raise` or a `Post` may be refused, because a queue is full. Over a direct link the refusal is the exception of
`send`. Over bytes the answer comes later, so the sender has a window: while as many frames are unanswered as a queue
holds, `send` itself refuses. A refusal that arrives after `send` returned is logged with its reason, and counted.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from trio_uwsgi._link.frames import Answer, Frame, FrameReader, Post, Raise, encode
from trio_uwsgi._system.close_on_fork import close_in_forked_children
from trio_uwsgi.errors import MessageQueueFull, SignalQueueFull, UwsgiError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Batch", "Link", "StoredLink", "StreamLink", "direct_links"]

logger = logging.getLogger("trio_uwsgi")

Obey = Callable[[Frame], None]

# One read of a link's stream: a few hundred frames.
_READ_SIZE = 65536


class Link(Protocol):
    """One end. `behind`: the other process reads more slowly than this one sends, and its pipe is full.
    `any_thread`: other threads than Trio's may send, too.
    """

    @property
    def behind(self) -> bool: ...

    @property
    def any_thread(self) -> bool: ...

    async def written(self) -> None:
        """Wait until the pipe has taken what was sent, or the link has ended."""

    def send(self, frame: Frame, /) -> None:
        """Send a frame to the other end, on Trio's thread. Never waits.

        Raises:
            SignalQueueFull, MessageQueueFull, MuleError: a `Raise` or a `Post` was refused; nothing was queued.
        """

    def send_from_thread(self, frame: Frame, /) -> bool:
        """As `send`, in another thread. False: this link cannot do that, or has just ended; nothing was sent."""

    def cut(self) -> None:
        """The member at this end died (in a test): drop what its code still sends while it is cancelled."""


class _NoPipe:
    """What links of one process have in common."""

    __slots__ = ()

    behind = False
    any_thread = False

    async def written(self) -> None:
        await trio.lowlevel.checkpoint()

    def send_from_thread(self, frame: Frame) -> bool:
        return False


class _DirectLink(_NoPipe):
    __slots__ = ("send",)

    def __init__(self, obey: Obey) -> None:
        self.send = obey

    def cut(self) -> None:
        self.send = _ignore


def _ignore(frame: Frame) -> None:
    pass


def direct_links(master: Obey, member: Obey) -> tuple[Link, Link]:
    """The two ends of a link between tasks: the member's, whose frames the master obeys, and the master's."""
    return _DirectLink(master), _DirectLink(member)


class StoredLink(_NoPipe):
    """The link of an import, while the members that its frames are for do not run yet: keeps what is sent.

    Args:
        window: how many `Raise` and `Post` frames it keeps; more are refused, as by `StreamLink`.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._counted = 0
        self.sent: list[Frame] = []

    def send(self, frame: Frame) -> None:
        if isinstance(frame, Raise | Post):
            if self._counted >= self._window:
                raise _full(frame, self._window)
            self._counted += 1
        self.sent.append(frame)

    def cut(self) -> None:
        self.sent.clear()


def _full(frame: Raise | Post, window: int) -> UwsgiError:
    if isinstance(frame, Raise):
        return SignalQueueFull(frame.signum, "the master", window)
    return MessageQueueFull("the master", window)


class Batch:
    """Gathers what some links of one process send while one of them obeys the frames that have arrived there."""

    __slots__ = ("_links",)

    def __init__(self) -> None:
        self._links: dict[StreamLink, None] | None = None

    def __enter__(self) -> None:
        self._links = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        links, self._links = self._links or {}, None
        for link in links:
            link.flush()

    def gathers(self, link: StreamLink) -> bool:
        """Does it gather? Then the link is flushed at the end."""
        if self._links is None:
            return False
        self._links[link] = None
        return True


class StreamLink:
    """One end of a link in bytes.

    `run` moves the bytes, in the member's nursery, until the other end closes, `finish` is called or it is cancelled;
    frames that were sent before `run` began wait for it.

    Args:
        stream: to the other end; closed when `run` ends.
        obey: called with each frame that arrives, in order.
        window: how many `Raise` and `Post` frames may be unanswered; more are refused here.
        batch: shared by the links that frames from this one may be passed on to.
    """

    def __init__(self, stream: trio.abc.Stream, obey: Obey, window: int, batch: Batch | None = None) -> None:
        self._stream = stream
        self._obey = obey
        self._window = window
        self._batch = batch or Batch()
        # For what `send_from_thread` uses. A handler of a posix signal may send between any two steps of a `send`.
        self._lock = threading.RLock()
        self._token: trio.lowlevel.TrioToken | None = None  # until `run`
        # Bounded by the protocol: unanswered frames by the window, deliveries by the slot's queue, their
        # acknowledgements by the deliveries.
        self._outgoing: list[bytes] = []  # for `_write`; nothing may be written before it
        self._gathered: list[bytes] = []
        self._unanswered = 0
        self._accepted = 0  # frames of the other end that have no answer yet
        self._wake = trio.Event()
        self._descriptor = stream.socket.fileno() if isinstance(stream, trio.SocketStream) else -1
        self._writing = False
        self._caught_up = trio.Event()  # of those that wait in `written`
        self._finishing = False
        self._cut = False
        self.refused = 0
        close_in_forked_children(self)

    def close_copies(self) -> None:
        """See `_system/close_on_fork.py`. The child sends nothing: the answers would be for its parent."""
        self.cut()
        if self._descriptor >= 0:
            assert isinstance(self._stream, trio.SocketStream)
            os.close(self._stream.socket.detach())
            self._descriptor = -1

    def cut(self) -> None:
        self._cut = True
        self._outgoing.clear()
        self._gathered.clear()

    def send(self, frame: Frame) -> None:
        if self._cut:
            return
        data = encode(frame)
        with self._lock:
            self._admit(frame)
            if self._batch.gathers(self):
                self._gathered.append(data)
            elif not self._write_now(data):
                self._wake.set()

    @property
    def any_thread(self) -> bool:
        return self._token is not None and self._descriptor >= 0

    def send_from_thread(self, frame: Frame) -> bool:
        if self._token is None:
            return False
        data = encode(frame)
        with self._lock:
            if self._descriptor < 0 or self._cut:
                return False
            self._admit(frame)
            if not self._write_now(data):
                self._token.run_sync_soon(self._wake_up)
        return True

    @property
    def behind(self) -> bool:
        return self._descriptor >= 0 and bool(self._outgoing or self._writing)

    async def written(self) -> None:
        while self.behind:
            await self._caught_up.wait()

    def _admit(self, frame: Frame) -> None:
        if isinstance(frame, Raise | Post):
            if self._unanswered >= self._window:
                raise _full(frame, self._window)
            self._unanswered += 1

    def flush(self) -> None:
        """Write what was gathered."""
        with self._lock:
            gathered, self._gathered = self._gathered, []
            if not self._write_now(b"".join(gathered)):
                self._wake.set()

    def _write_now(self, data: bytes) -> bool:
        """Write to the other process, if there is one and its pipe has room; False if `_write` has to be woken."""
        if self._outgoing or self._writing:
            self._outgoing.append(data)
            return True
        if self._descriptor < 0:
            self._outgoing.append(data)
            return False
        try:
            written = os.write(self._descriptor, data)
        except BlockingIOError:
            written = 0
        except OSError:  # the other end closed; what it sent before that is still read
            return True
        if written < len(data):
            self._outgoing.append(data[written:])
        return written == len(data)

    def finish(self) -> None:
        """Have `run` send what is left, wait until that is answered, close the stream and return."""
        self._finishing = True
        self._wake.set()

    def _wake_up(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Move bytes both ways. Cancellation drops what was not sent yet.

        Raises, in a group:
            ValueError: received bytes are not of the format of `frames.py`.
        """
        self._token = trio.lowlevel.current_trio_token()
        async with self._stream:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, nursery.cancel_scope)
                    await self._read()
                    nursery.cancel_scope.cancel()
            finally:
                with self._lock:
                    self._descriptor = -1  # the next file that is opened may get it
                self._caught_up.set()

    async def _write(self, both: trio.CancelScope) -> None:
        while self._outgoing or self._unanswered or not self._finishing:
            await self._wake.wait()
            self._wake = trio.Event()
            while data := self._left():
                try:
                    await self._stream.send_all(data)
                except trio.BrokenResourceError:
                    return  # the other end closed; what it sent before that is still read
            self._caught_up.set()
            self._caught_up = trio.Event()
        both.cancel()

    def _left(self) -> bytes:
        """What is to be sent. Until there is nothing, `send` writes nothing itself."""
        with self._lock:
            outgoing, self._outgoing = self._outgoing, []
            self._writing = bool(outgoing)
        return b"".join(outgoing)

    async def _read(self) -> None:
        reader = FrameReader()
        while data := await self._receive():
            with self._batch:
                for frame in reader.feed(bytes(data)):
                    self._take(frame)
                self._answer()

    async def _receive(self) -> bytes | bytearray:
        try:
            return await self._stream.receive_some(_READ_SIZE)
        except trio.BrokenResourceError:
            return b""

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Answer):
            with self._lock:
                self._unanswered -= frame.count
            if self._finishing:
                self._wake.set()
            if frame.refusal:
                self.refused += 1
                logger.error("a signal or message was refused after it was sent: %s", frame.refusal)
        elif isinstance(frame, Raise | Post):
            try:
                self._obey(frame)
            except UwsgiError as error:
                self._answer()
                self.send(Answer(str(error)))
            else:
                self._accepted += 1
        else:
            self._obey(frame)

    def _answer(self) -> None:
        """Answer the frames that were accepted since the last answer."""
        if self._accepted:
            accepted, self._accepted = self._accepted, 0
            self.send(Answer(count=accepted))
