"""The link between the master and one member.

Both ends `obey` frames in a plain function that never waits, so a link only passes a frame to the other end:
`direct_links` calls the other end's `obey` at once (for a member that is a task of this process), `StreamLink` sends
bytes over any Trio stream (for a member that is a process, and for placement "memory"). Neither end knows which kind it
has.

A `Raise` or a `Post` may be refused, because a queue is full. Over a direct link the refusal is the exception of
`send`. Over bytes the answer comes later, so the sender has a window: while as many frames are unanswered as a queue
holds, `send` itself refuses. A refusal that arrives after `send` returned is logged with its reason, and counted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Protocol

import trio

from trio_uwsgi._link.frames import Answer, Frame, FrameReader, Post, Raise, encode
from trio_uwsgi._system.close_on_fork import close_in_forked_children
from trio_uwsgi.errors import MessageQueueFull, SignalQueueFull, UwsgiError

__all__ = ["Link", "StoredLink", "StreamLink", "direct_links"]

logger = logging.getLogger("trio_uwsgi")

Obey = Callable[[Frame], None]

# One read of a link's stream: a few hundred frames.
_READ_SIZE = 65536


class Link(Protocol):
    """One end."""

    def send(self, frame: Frame, /) -> None:
        """Send a frame to the other end. Never waits.

        Raises:
            SignalQueueFull, MessageQueueFull, MuleError: a `Raise` or a `Post` was refused; nothing was queued.
        """

    def cut(self) -> None:
        """The member at this end died (in a test): drop what its code still sends while it is cancelled."""


class _DirectLink:
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


class StoredLink:
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


class StreamLink:
    """One end of a link in bytes.

    `run` moves the bytes, in the member's nursery, until the other end closes, `finish` is called or it is cancelled;
    frames that were sent before `run` began wait for it.

    Args:
        stream: to the other end; closed when `run` ends.
        obey: called with each frame that arrives, in order.
        window: how many `Raise` and `Post` frames may be unanswered; more are refused here.
    """

    def __init__(self, stream: trio.abc.Stream, obey: Obey, window: int) -> None:
        self._stream = stream
        self._obey = obey
        self._window = window
        # Bounded by the protocol: unanswered frames by the window, deliveries by the slot's queue, their
        # acknowledgements by the deliveries.
        self._outgoing: list[bytes] = []
        self._unanswered = 0
        self._wake = trio.Event()
        self._descriptor = stream.socket.fileno() if isinstance(stream, trio.SocketStream) else -1
        self._writing = False
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

    def send(self, frame: Frame) -> None:
        if self._cut:
            return
        data = encode(frame)
        if isinstance(frame, Raise | Post):
            if self._unanswered >= self._window:
                raise _full(frame, self._window)
            self._unanswered += 1
        if self._outgoing or self._writing or not self._write_now(data):
            self._outgoing.append(data)
            self._wake.set()

    def _write_now(self, data: bytes) -> bool:
        """Write to the other process before this returns, if there is one and its pipe has room: user code that runs
        next may end this process, and what was sent before must have been written.
        """
        if self._descriptor < 0:
            return False
        try:
            written = os.write(self._descriptor, data)
        except BlockingIOError:
            return False
        except OSError:  # the other end closed; what it sent before that is still read
            return True
        if written < len(data):
            self._outgoing.append(data[written:])
            self._wake.set()
        return True

    def finish(self) -> None:
        """Have `run` send what is left, wait until that is answered, close the stream and return."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Move bytes both ways. Cancellation drops what was not sent yet.

        Raises, in a group:
            ValueError: received bytes are not of the format of `frames.py`.
        """
        try:
            async with self._stream, trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._descriptor = -1

    async def _write(self, both: trio.CancelScope) -> None:
        while self._outgoing or self._unanswered or not self._finishing:
            await self._wake.wait()
            self._wake = trio.Event()
            outgoing, self._outgoing = self._outgoing, []
            if not outgoing:
                continue
            self._writing = True
            try:
                await self._stream.send_all(b"".join(outgoing))
            except trio.BrokenResourceError:
                return  # the other end closed; what it sent before that is still read
            finally:
                self._writing = False
        both.cancel()

    async def _read(self) -> None:
        reader = FrameReader()
        while data := await self._receive():
            for frame in reader.feed(bytes(data)):
                self._take(frame)

    async def _receive(self) -> bytes | bytearray:
        try:
            return await self._stream.receive_some(_READ_SIZE)
        except trio.BrokenResourceError:
            return b""

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Answer):
            self._unanswered -= 1
            if self._finishing:
                self._wake.set()
            if frame.refusal:
                self.refused += 1
                logger.error("a signal or message was refused after it was sent: %s", frame.refusal)
        elif isinstance(frame, Raise | Post):
            try:
                self._obey(frame)
            except UwsgiError as error:
                self.send(Answer(str(error)))
            else:
                self.send(Answer())
        else:
            self._obey(frame)
