"""The slot: the place of one member, with what was delivered to it. Pure.

A slot outlives the member instances that hold it, one after the other. This module has values and queues only;
`dispatcher.py` decides which slot is given what, and what becomes of it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Kind

__all__ = ["Delivery", "Reassignment", "Slot", "SlotState", "Tick", "signal_numbers"]


class SlotState(enum.Enum):
    """The state of a slot.

    `STARTING`: its instance is not ready yet. `READY`: its instance serves. `BACKING_OFF`: it has no instance, for a
    pause after one that died soon after its start. `VACANT`: it has no instance until there is work. `ENDED`: it will
    have no more instances.
    """

    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing off"
    VACANT = "vacant"
    ENDED = "ended"


class Tick:
    """One tick of a timer, or one change of a monitored file, while members run its signal: it begins with the first of
    them and ends with the last.

    Args:
        begin: called when it begins.
        end: called when it ends; with False, it never began.
    """

    __slots__ = ("_begin", "_begun", "_end", "unfinished")

    def __init__(self, begin: Callable[[], None], end: Callable[[bool], None]) -> None:
        self._begin = begin
        self._end = end
        self._begun = False
        self.unfinished = 0

    def begin_run(self) -> None:
        """A member has begun to run the signal."""
        if not self._begun:
            self._begun = True
            self._begin()

    def end_run(self) -> None:
        """A member has run the signal, or will not."""
        self.unfinished -= 1
        if not self.unfinished:
            self._end(self._begun)


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One signal or message on its way to one member. Exactly one of `signum` and `message` is set.

    `ticket` is unique in a runtime and grows. `origin` is the member that raised it, `timer`, or `file monitor`.
    `among` names the members that may run it instead: None for no other, `""` for any member of the kind, or the name
    of a farm. `farm` is the farm that a message was sent to. `deaths` counts the members that died while they handled a
    message.
    """

    ticket: int
    origin: str
    signum: int | None = None
    message: bytes | None = None
    tick: Tick | None = None
    among: str | None = None
    farm: str = ""
    deaths: int = 0

    @property
    def size(self) -> int:
        """Bytes of the message; 0 of a signal."""
        return len(self.message or b"")


def signal_numbers(deliveries: Sequence[Delivery]) -> str:
    """The numbers of the first ten of these signals, for the log."""
    return ", ".join(str(delivery.signum) for delivery in deliveries[:10]) + (", ..." if len(deliveries) > 10 else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Reassignment:
    """What became of the deliveries of a member that died: signals that it ran are `lost`; messages that it handled are
    `redelivered`, except those that a member died of before, which are `dropped`; waiting deliveries that other members
    may run were `moved` to them.
    """

    lost: list[Delivery]
    redelivered: list[Delivery]
    dropped: list[Delivery]
    moved: list[tuple[Slot, Delivery]]


class Slot:
    """The place of one member. Written by the dispatcher and the master only.

    A `spare` slot has an instance only while there is work. `on_activated` is called when a vacant slot needs an
    instance, `on_idle` when a ready one has nothing waiting or running any more; the slot's supervisor sets them.

    While an instance is replaced, two of them use the slot: its holder, and the former holder, which only drains.

    Invariant: a delivery is in exactly one of `signals`, `messages` (both waiting), `running` (in the holder) and
    `draining` (running in the former holder), or in none of them. All but `draining` are empty in a vacant slot.
    """

    __slots__ = (
        "deaths",
        "draining",
        "kind",
        "last_given",
        "messages",
        "name",
        "number",
        "on_activated",
        "on_idle",
        "running",
        "signals",
        "spare",
        "state",
    )

    def __init__(self, kind: Kind | Literal["master"], number: int, *, spare: bool = False) -> None:
        self.kind = kind
        self.number = number
        self.name = f"{kind}{number}" if number else kind
        self.spare = spare
        self.state = SlotState.VACANT if spare else SlotState.STARTING
        self.on_activated: Callable[[], None] = _ignore_change
        self.on_idle: Callable[[], None] | None = None
        self.deaths = 0
        self.signals: dict[int, Delivery] = {}
        self.messages: dict[int, Delivery] = {}
        self.running: dict[int, Delivery] = {}
        self.draining: dict[int, Delivery] = {}
        self.last_given = 0

    def __str__(self) -> str:
        waiting = len(self.signals) + len(self.messages)
        counts = f" ({waiting} waiting, {len(self.running)} running)" if self.load else ""
        return f"{self.name} {self.state.value}{counts}"

    def __repr__(self) -> str:
        waiting = f"{len(self.signals)} signals and {len(self.messages)} messages waiting"
        return f"<Slot {self.name}: {self.state.value}, {waiting}, {len(self.running)} running>"

    @property
    def load(self) -> int:
        """Deliveries that wait or run in the holder; those of a draining instance do not count."""
        return len(self.signals) + len(self.messages) + len(self.running)

    def waiting(self) -> list[Delivery]:
        """Deliveries that were not begun, in order; redelivered messages first."""
        return sorted([*self.signals.values(), *self.messages.values()], key=lambda d: (not d.deaths, d.ticket))


def _ignore_change() -> None:
    pass
