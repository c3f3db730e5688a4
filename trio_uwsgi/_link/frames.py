"""What the master and its members say to each other, as values and as bytes. Pure.

On the wire a frame is

    size of the rest   4 bytes, big endian
    size of the head   4 bytes, big endian
    head               JSON: [name of the frame, its fields except bytes ones]
    tail               the frame's one bytes field, if it has one

Both ends are our own and equally privileged, but the format still gives plain data and nothing that executes. Which end
may send what is said in each frame's docstring; who answers what is in `_link/link.py`. What the master and a zygote
say to each other has the same format, and words of its own (`zygote_frames.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, ClassVar

__all__ = [
    "AddTimer",
    "Alarm",
    "Answer",
    "Begun",
    "BootFailed",
    "CancelTimer",
    "Closed",
    "Declared",
    "Deliver",
    "Drain",
    "Drained",
    "Ended",
    "Forget",
    "Frame",
    "FrameReader",
    "Granted",
    "Lock",
    "Pause",
    "Post",
    "Raise",
    "Ready",
    "Register",
    "Reload",
    "ReplaceMe",
    "ShutdownRequest",
    "SpoolerFrequency",
    "Stop",
    "TakeOver",
    "Unlock",
    "Vocabulary",
    "encode",
]

# A mule message is the largest thing a frame carries; uWSGI's own limit for one is 65,536 bytes. A MiB is more than any
# head needs.
MAX_MESSAGE = 64 * 1024 * 1024
MAX_FRAME = MAX_MESSAGE + 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """Base of all frames. `tail` names the one bytes field."""

    tail: ClassVar[str] = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Ready(Frame):
    """Member to master: it serves; what waits for it may come."""


@dataclasses.dataclass(frozen=True, slots=True)
class Raise(Frame):
    """Member to master: raise this signal. Answered."""

    signum: int


@dataclasses.dataclass(frozen=True, slots=True)
class Post(Frame):
    """Member to master: queue this message for a mule, 0 for any, or for one of the farm of this name. Answered."""

    mule: int | str
    message: bytes
    tail: ClassVar[str] = "message"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer(Frame):
    """Master to member: the oldest unanswered frame was accepted, or refused with this reason."""

    refusal: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Deliver(Frame):
    """Master to member: run this signal's handler, or, where `signum` is None, handle this message.

    `farm` is the farm it was sent to. `redelivered`: a member died while it handled this message.
    """

    ticket: int
    signum: int | None
    message: bytes
    farm: str = ""
    redelivered: bool = False
    tail: ClassVar[str] = "message"


@dataclasses.dataclass(frozen=True, slots=True)
class Begun(Frame):
    """Member to master: this delivery left the queue."""

    ticket: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ended(Frame):
    """Member to master: this delivery has been run, well or not."""

    ticket: int


@dataclasses.dataclass(frozen=True, slots=True)
class AddTimer(Frame):
    """Member to master: arm a timer. `rule` is its type and its fields, `ident` is unique in the member's life."""

    ident: int
    signum: int
    rule: list[Any]  # JSON values; `timer_rules.rule_from_values` reads them
    late: str
    overlap: bool


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTimer(Frame):
    """Member to master: this timer of mine fires no more."""

    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm(Frame):
    """Member to master: raise this alarm, which is configured."""

    name: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class ShutdownRequest(Frame):
    """Member to master: I have nothing to do. If nothing is on its way to it either, and its seat may be vacant, it is
    told to stop; otherwise nothing happens.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Register(Frame):
    """Member to master: its code registered this signal while it ran, for this target."""

    signum: int
    target: str


@dataclasses.dataclass(frozen=True, slots=True)
class Lock(Frame):
    """Member to master: it wants this user lock. `ident` is unique in the member's life."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Granted(Frame):
    """Master to member: the user lock is its own."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Unlock(Frame):
    """Member to master: it holds the user lock no more."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Forget(Frame):
    """Member to master: it does not want the user lock any more, unless it has been granted."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Drain(Frame):
    """Master to member: another one takes the seat. Begin nothing of what waits, say `Drained`, end what runs, and
    then yourself.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Drained(Frame):
    """Member to master: no `Begun` comes from here any more; what was not begun is for the next one."""


@dataclasses.dataclass(frozen=True, slots=True)
class TakeOver(Frame):
    """Master to a member that came to follow another one: the seat is its own, and the other one has given way."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaceMe(Frame):
    """Member to master: let another one follow me; `reason` is for the log. May be said again."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reload(Frame):
    """Member to master: import the application anew, and let members with the new code follow all that are there."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpoolerFrequency(Frame):
    """Member to master, and master to spoolers: look through the directories so often, in seconds."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Closed(Frame):
    """Member to master: it accepts no more connections."""


@dataclasses.dataclass(frozen=True, slots=True)
class BootFailed(Frame):
    """Member to master: it cannot start, because of its application; `traceback` is that of the cause, or empty."""

    reason: str
    traceback: str


@dataclasses.dataclass(frozen=True, slots=True)
class Declared(Frame):
    """Member to master, before `Ready`: what the application declared when this member imported it by itself.

    `description` is what `_runtime/declarations.py` made of it.
    """

    description: bytes
    tail: ClassVar[str] = "description"


@dataclasses.dataclass(frozen=True, slots=True)
class Stop(Frame):
    """Master to member: begin no new work, end what runs, then end yourself. `patient`: others serve on, so clients
    that are idle have a moment for one more request, which may be on its way.
    """

    patient: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Pause(Frame):
    """Master to member: accept no connections for now, or do again."""

    paused: bool


class Vocabulary:
    """The frames that the two ends of a link know, and their bytes. An end refuses every other one."""

    def __init__(self, *kinds: type[Frame]) -> None:
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._fields = {
            kind: [field.name for field in dataclasses.fields(kind) if field.name != kind.tail] for kind in kinds
        }

    def encode(self, frame: Frame) -> bytes:
        """The frame as bytes.

        Raises:
            ValueError: it is larger than `MAX_FRAME`, so the other end would not take it.
        """
        kind = type(frame)
        head = json.dumps([kind.__name__, *(getattr(frame, name) for name in self._fields[kind])]).encode()
        tail: bytes = getattr(frame, kind.tail) if kind.tail else b""
        size = 4 + len(head) + len(tail)
        if size > MAX_FRAME:
            raise ValueError(f"a frame of {size} bytes is larger than {MAX_FRAME}")
        return b"".join([size.to_bytes(4, "big"), len(head).to_bytes(4, "big"), head, tail])

    def decode(self, rest: bytes) -> Frame:
        """The frame of these bytes, which are all but the first four. They may be wrong in several ways, each of which
        is some ValueError, TypeError, KeyError or RecursionError.
        """
        end = 4 + int.from_bytes(rest[:4], "big")
        head = json.loads(rest[4:end])
        if end > len(rest) or not isinstance(head, list):
            raise ValueError("the head is cut off, or is not a list")
        name, *values = head
        kind = self._kinds[name]
        fields = dict(zip(self._fields[kind], values, strict=True))
        if kind.tail:
            fields[kind.tail] = rest[end:]
        elif end < len(rest):
            raise ValueError("there are bytes behind a head that has no tail")
        return kind(**fields)


_MEMBERS = Vocabulary(
    *(Ready, Raise, Post, Answer, Deliver, Begun, Ended, AddTimer, CancelTimer, Alarm, ShutdownRequest, Stop),
    *(Register, Lock, Granted, Unlock, Forget, Closed, BootFailed, Declared),
    *(Drain, Drained, TakeOver, ReplaceMe, Reload, Pause, SpoolerFrequency),
)
encode = _MEMBERS.encode


class FrameReader:
    """Bytes in, frames out; holds at most one unfinished frame. Without a vocabulary it is that of the members."""

    def __init__(self, vocabulary: Vocabulary = _MEMBERS) -> None:
        self._vocabulary = vocabulary
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that this data completes.

        Raises:
            ValueError: the data is not of this format, or a frame is larger than `MAX_FRAME`; the link is of no use any
                more.
        """
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_FRAME:
                raise ValueError(f"a frame of {size} bytes is larger than {MAX_FRAME}")
            if len(self._buffer) < 4 + size:
                return
            rest = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            try:
                yield self._vocabulary.decode(rest)
            except (KeyError, RecursionError, TypeError, ValueError) as error:
                raise ValueError(f"not a frame: {rest[:40]!r}") from error
