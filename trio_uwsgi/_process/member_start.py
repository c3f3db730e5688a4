"""What the master knows of a member's process while that begins, and of all of them at once."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trio_uwsgi._link.frames import BootFailed, Drain, Frame, Stop
from trio_uwsgi._link.link import StreamLink

__all__ = ["MemberLink", "SharedFrequency", "Start"]


class MemberLink(StreamLink):
    """The master's end of a link, which knows whether the member was told to end."""

    stop_requested = False

    def send(self, frame: Frame) -> None:
        self.stop_requested = self.stop_requested or isinstance(frame, Stop | Drain)
        super().send(frame)


class Start:
    """How the start of a member goes: `imported` is set when it has the application, or has none, and `failure` says
    why there is none, or why it does not start with it.
    """

    def __init__(self) -> None:
        self.imported = trio.Event()
        self.failure: BootFailed | None = None

    def failed(self, failure: BootFailed) -> None:
        """It does not start; the first reason counts."""
        self.failure = self.failure or failure
        self.imported.set()


class SharedFrequency:
    """How often spoolers look through their directories, once a member has said that; 0 before."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.on_change: Callable[[float], None]  # tells those who are there

    def set(self, seconds: float) -> None:
        """For all, and for those who come."""
        self.seconds = seconds
        self.on_change(seconds)
