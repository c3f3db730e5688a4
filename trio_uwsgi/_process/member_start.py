"""The master's state of a member's process during its start, and a setting that all members share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import BootFailed, Drain, Frame, Stop, StopRequested
from trio_uwsgi._link.link import StreamLink

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Row

__all__ = ["MemberLink", "SharedFrequency", "Start"]


class MemberLink(StreamLink):
    """The master's end of a link. `stop_requested` says whether the member was asked to stop or drain.

    `row` is the member's in the scoreboard, where code that blocks the event loop of its process reads that it is to
    stop.
    """

    stop_requested = False
    row: Row

    def send(self, frame: Frame) -> None:
        self.stop_requested = self.stop_requested or isinstance(frame, Stop | Drain)
        if isinstance(frame, Stop | Drain | StopRequested):
            self.row.set("stopping", 1)
        super().send(frame)


class Start:
    """The start of a member: `imported` is set when its import has ended, well or not, and `failure` says why it cannot
    start.
    """

    def __init__(self) -> None:
        self.imported = trio.Event()
        self.failure: BootFailed | None = None

    def failed(self, failure: BootFailed) -> None:
        """The member cannot start; the first reason is kept."""
        self.failure = self.failure or failure
        self.imported.set()


class SharedFrequency:
    """The seconds between two scans of a spool directory, once a member has set that; 0 before."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.on_change: Callable[[float], None]  # tells the running spoolers

    def set(self, seconds: float) -> None:
        """Set it for all running spoolers and for later ones."""
        self.seconds = seconds
        self.on_change(seconds)
