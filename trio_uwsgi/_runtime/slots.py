"""The place of one member, and what is on its way to it. Pure.

Values and accounts only; who is given what, and what becomes of it, is decided in `dispatcher.py`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Kind
    from trio_uwsgi._signals.timer import Timer

__all__ = ["Delivery", "Reassignment", "Slot", "SlotState", "Tick", "signal_numbers"]


class SlotState(enum.Enum):
    """Who sits on a seat.

    `STARTING`: a member that is not ready yet. `BACKING_OFF`: nobody, for a pause after a member that died young.
    `VACANT`: nobody, until there is work. `ENDED`: nobody any more.
    """

    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing off"
    VACANT = "vacant"
    ENDED = "ended"


class Tick:
    """One tick of a timer while members run it: it begins with the first of them and ends with the last."""

    __slots__ = ("begun", "timer", "unfinished")

    def __init__(self, timer: Timer) -> None:
        self.timer = timer
        self.begun = False
        self.unfinished = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One signal or message on its way to one member. Exactly one of `signum` and `message` is set.

    `ticket` is unique in a runtime and grows. `origin` is the member that raised it, or `timer`. `among` says who else
    could have been given it: None for nobody, `""` for any member of the kind, or the name of a farm. `farm` is the
    farm that a message was sent to. `deaths` counts the members that died while they handled a message.
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
    """Of which signals these are, for the log: the first ten."""
    return ", ".join(str(delivery.signum) for delivery in deliveries[:10]) + (", ..." if len(deliveries) > 10 else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Reassignment:
    """What became of the deliveries of a member that died: signals that it ran are `lost`, messages that it handled
    wait `again`, but those that killed a member before are `dropped`; what others could do was `moved` to them.
    """

    lost: list[Delivery]
    again: list[Delivery]
    dropped: list[Delivery]
    moved: list[tuple[Slot, Delivery]]


class Slot:
    """The place of one member. Written by the roster and the master only.

    `spare` seats have a member only while there is work. `on_activated` is called when a vacant seat is to have one,
    `on_idle` when nothing waits or runs on a ready one any more; whoever looks after the seat sets them.

    A seat may for a while have two members: one has it, and one is `leaving`, which begins nothing any more.

    Invariant: a delivery is in `signals`, `messages`, `running` (of the one that has the seat) or `leaving` (of the one
    that had it), or nowhere; nothing but `leaving` is on a vacant seat.
    """

    __slots__ = (
        "deaths",
        "kind",
        "last_given",
        "leaving",
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
        self.leaving: dict[int, Delivery] = {}
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
        """Deliveries that are waiting or running; what one that leaves still runs is no load for the next one."""
        return len(self.signals) + len(self.messages) + len(self.running)

    def waiting(self) -> list[Delivery]:
        """What was given and not begun, in the order it was given, behind what killed the last member."""
        return sorted([*self.signals.values(), *self.messages.values()], key=lambda d: (not d.deaths, d.ticket))


def _ignore_change() -> None:
    pass
