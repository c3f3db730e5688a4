"""The frames that the master and its members send to each other. Pure.

The docstring of each frame says which end sends it; which frames are answered is in `link.py`. Their bytes are in
`encoding.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from trio_uwsgi._link.encoding import Frame, Reader, Vocabulary

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
    "encode",
]


class Ready(Frame):
    """Member to master: it serves; the master may send what waits in its slot."""


class Raise(Frame):
    """Member to master: raise this signal. Answered."""

    signum: int
    repeats: ClassVar[bool] = True


class Post(Frame):
    """Member to master: queue this message for a mule, 0 for any, or for one of the farm of this name. Answered."""

    mule: int | str
    message: bytes
    tail: ClassVar[str] = "message"
    repeats: ClassVar[bool] = True


class Answer(Frame):
    """Master to member: the `count` oldest unanswered frames were accepted, or refused with this reason."""

    refusal: str = ""
    count: int = 1
    repeats: ClassVar[bool] = True


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
    serial: ClassVar[str] = "ticket"
    repeats: ClassVar[bool] = True


class Begun(Frame):
    """Member to master: it took this delivery from the queue, and runs it."""

    ticket: int
    serial: ClassVar[str] = "ticket"
    repeats: ClassVar[bool] = True


class Ended(Frame):
    """Member to master: it has run this delivery, successfully or not."""

    ticket: int
    serial: ClassVar[str] = "ticket"
    repeats: ClassVar[bool] = True


class AddTimer(Frame):
    """Member to master: arm a timer. `rule` is its type and its fields; `ident` is unique in the member instance."""

    ident: int
    signum: int
    rule: list[Any]  # JSON values; `timer_specs.rule_from_values` reads them
    late: str
    overlap: bool


class AddFileMonitor(Frame):
    """Member to master: raise this signal when the file at this path, which is absolute, changes."""

    signum: int
    path: str


class CancelTimer(Frame):
    """Member to master: cancel this timer, which the member has armed."""

    ident: int


class Alarm(Frame):
    """Member to master: raise this configured alarm."""

    name: str
    message: str


class ShutdownRequest(Frame):
    """Member to master: it is idle and asks to be stopped. The master sends `Stop` if the slot is spare and nothing
    waits in it; otherwise nothing happens.
    """


class Register(Frame):
    """Member to master: its code registered this signal for this target while it ran."""

    signum: int
    target: str


class Lock(Frame):
    """Member to master: it asks for this user lock. `ident` is unique in the member instance."""

    number: int
    ident: int
    serial: ClassVar[str] = "ident"
    repeats: ClassVar[bool] = True


class Granted(Frame):
    """Master to member: it holds the user lock now."""

    number: int
    ident: int
    serial: ClassVar[str] = "ident"
    repeats: ClassVar[bool] = True


class Unlock(Frame):
    """Member to master: it has released the user lock."""

    number: int
    ident: int
    serial: ClassVar[str] = "ident"
    repeats: ClassVar[bool] = True


class Forget(Frame):
    """Member to master: it no longer asks for the user lock, unless the lock has been granted."""

    number: int
    ident: int
    serial: ClassVar[str] = "ident"
    repeats: ClassVar[bool] = True


class AreaChanged(Frame):
    """Member to master, and master to all members: this shared area has changed, and tasks wait for that."""

    number: int


class Drain(Frame):
    """Master to member: its replacement is ready. Begin nothing of what waits, send `Drained`, end what runs, and then
    end.
    """


class Drained(Frame):
    """Member to master: it sends no more `Begun`; what was not begun is for its replacement."""


class TakeOver(Frame):
    """Master to a replacement: it holds the slot now; the former holder has drained."""


class ReplaceMe(Frame):
    """Member to master: it asks to be replaced; `reason` is for the log. May be sent again."""

    reason: str


class Reload(Frame):
    """Member to master: import the application anew, and replace all members by ones with the new code."""


class StopRuntime(Frame):
    """Member to master: stop everything gracefully."""


class SpoolerFrequency(Frame):
    """Member to master, and master to spoolers: scan the directories every `seconds`."""

    seconds: float


class Closed(Frame):
    """Member to master: it accepts no more connections."""


class BootFailed(Frame):
    """Member to master: it cannot start, because of its application; `traceback` is that of the cause, or empty."""

    reason: str
    traceback: str


class Declared(Frame):
    """Member to master, before `Ready`: what the application declared when this member imported it (`lazy_apps`).

    `_runtime/declarations.py` makes and reads the `description`.
    """

    description: bytes
    tail: ClassVar[str] = "description"


class Stop(Frame):
    """Master to member: run what waits, end what runs, then end. `patient`: other members keep serving, so idle clients
    have a moment for one more request, which may be on its way. `mercy`: seconds until the master ends it by force.
    """

    patient: bool = False
    mercy: float | None = None  # None: the option's


class StopRequested(Frame):
    """Master to member: the runtime is to stop. Go on; `Stop` follows when it is this member's turn."""


class Pause(Frame):
    """Master to member: pause accepting connections, or resume it."""

    paused: bool


_MEMBERS = Vocabulary(
    *(Ready, Raise, Post, Answer, Deliver, Begun, Ended, AddTimer, CancelTimer, Alarm, ShutdownRequest, Stop),
    *(Register, Lock, Granted, Unlock, Forget, Closed, BootFailed, Declared),
    *(AreaChanged, Drain, Drained, TakeOver, ReplaceMe, Reload, Pause, SpoolerFrequency, StopRequested, AddFileMonitor),
    StopRuntime,
)
encode = _MEMBERS.encode


class FrameReader(Reader):
    """Bytes in, frames of the master and the members out."""

    def __init__(self) -> None:
        super().__init__(_MEMBERS)
