"""The frames that the master and its members send to each other, as values and as bytes. Pure.

On the wire a frame is

    size of the rest   4 bytes, big endian
    size of the head   4 bytes, big endian
    head               JSON: [name of the frame, its fields except bytes ones]
    tail               the frame's one bytes field, if it has one

Both ends are this package and equally privileged; still a frame contains plain data only, nothing that executes. The
docstring of each frame says which end sends it; which frames are answered is in `link.py`. The frames between the
master and a zygote have the same format (`_process/zygote_frames.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, ClassVar

__all__ = [
    "AddFileMonitor",
    "AddTimer",
    "Alarm",
    "Answer",
    "AreaChanged",
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
    "StopRequested",
    "StopRuntime",
    "TakeOver",
    "Unlock",
    "Vocabulary",
    "encode",
]

# A mule message is the largest field of a frame; uWSGI's own limit for one is 65,536 bytes. A MiB is more than any head
# needs.
MAX_MESSAGE = 64 * 1024 * 1024
MAX_FRAME = MAX_MESSAGE + 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """Base of all frames. `tail` names the one bytes field."""

    tail: ClassVar[str] = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Ready(Frame):
    """Member to master: it serves; the master may send what waits in its slot."""


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

    `farm` is the farm that the message was sent to. `redelivered`: a member died while it handled this message.
    """

    ticket: int
    signum: int | None
    message: bytes
    farm: str = ""
    redelivered: bool = False
    tail: ClassVar[str] = "message"


@dataclasses.dataclass(frozen=True, slots=True)
class Begun(Frame):
    """Member to master: it took this delivery from the queue, and runs it."""

    ticket: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ended(Frame):
    """Member to master: it has run this delivery, successfully or not."""

    ticket: int


@dataclasses.dataclass(frozen=True, slots=True)
class AddTimer(Frame):
    """Member to master: arm a timer. `rule` is its type and its fields; `ident` is unique in the member instance."""

    ident: int
    signum: int
    rule: list[Any]  # JSON values; `timer_specs.rule_from_values` reads them
    late: str
    overlap: bool


@dataclasses.dataclass(frozen=True, slots=True)
class AddFileMonitor(Frame):
    """Member to master: raise this signal when the file at this path, which is absolute, changes."""

    signum: int
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTimer(Frame):
    """Member to master: cancel this timer, which the member has armed."""

    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm(Frame):
    """Member to master: raise this configured alarm."""

    name: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class ShutdownRequest(Frame):
    """Member to master: it is idle and asks to be stopped. The master sends `Stop` if the slot is spare and nothing
    waits in it; otherwise nothing happens.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Register(Frame):
    """Member to master: its code registered this signal for this target while it ran."""

    signum: int
    target: str


@dataclasses.dataclass(frozen=True, slots=True)
class Lock(Frame):
    """Member to master: it asks for this user lock. `ident` is unique in the member instance."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Granted(Frame):
    """Master to member: it holds the user lock now."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Unlock(Frame):
    """Member to master: it has released the user lock."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class Forget(Frame):
    """Member to master: it no longer asks for the user lock, unless the lock has been granted."""

    number: int
    ident: int


@dataclasses.dataclass(frozen=True, slots=True)
class AreaChanged(Frame):
    """Member to master, and master to all members: this shared area has changed, and tasks wait for that."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Drain(Frame):
    """Master to member: its replacement is ready. Begin nothing of what waits, send `Drained`, end what runs, and then
    end.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Drained(Frame):
    """Member to master: it sends no more `Begun`; what was not begun is for its replacement."""


@dataclasses.dataclass(frozen=True, slots=True)
class TakeOver(Frame):
    """Master to a replacement: it holds the slot now; the former holder has drained."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplaceMe(Frame):
    """Member to master: it asks to be replaced; `reason` is for the log. May be sent again."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reload(Frame):
    """Member to master: import the application anew, and replace all members by ones with the new code."""


@dataclasses.dataclass(frozen=True, slots=True)
class StopRuntime(Frame):
    """Member to master: stop everything gracefully."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpoolerFrequency(Frame):
    """Member to master, and master to spoolers: scan the directories every `seconds`."""

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
    """Member to master, before `Ready`: what the application declared when this member imported it (`lazy_apps`).

    `_runtime/declarations.py` makes and reads the `description`.
    """

    description: bytes
    tail: ClassVar[str] = "description"


@dataclasses.dataclass(frozen=True, slots=True)
class Stop(Frame):
    """Master to member: run what waits, end what runs, then end. `patient`: other members keep serving, so idle clients
    have a moment for one more request, which may be on its way. `mercy`: seconds until the master ends it by force.
    """

    patient: bool = False
    mercy: float | None = None  # None: the option's


@dataclasses.dataclass(frozen=True, slots=True)
class StopRequested(Frame):
    """Master to member: the runtime is to stop. Go on; `Stop` follows when it is this member's turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pause(Frame):
    """Master to member: pause accepting connections, or resume it."""

    paused: bool


class Vocabulary:
    """The frames that the two ends of a link know, and their encoding. An end refuses all others."""

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
        """The frame of these bytes, which are all but the first four. If they are malformed, that is a ValueError,
        TypeError, KeyError or RecursionError.
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
    *(AreaChanged, Drain, Drained, TakeOver, ReplaceMe, Reload, Pause, SpoolerFrequency, StopRequested, AddFileMonitor),
    StopRuntime,
)
encode = _MEMBERS.encode


class FrameReader:
    """Bytes in, frames out; holds at most one unfinished frame. The default vocabulary is that of the members."""

    def __init__(self, vocabulary: Vocabulary = _MEMBERS) -> None:
        self._vocabulary = vocabulary
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that this data completes.

        Raises:
            ValueError: the data is not of this format, or a frame is larger than `MAX_FRAME`; the link is then
                unusable.
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
