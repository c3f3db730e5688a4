"""Who exists, in which state, with how much waiting; and from there: who gets the next signal or message. Floor 1.

Theory. Every worker and mule has a *seat*, from the start of the runtime to its end, whoever sits on it. What a member
has been given and has not begun waits on its seat, in order, and no more than the seat's bound: that is the member's
queue, and it lives here and not in the member, so that nothing is lost when a member dies. The member says `begun` when
it takes a delivery and `ended` when it has run it.

    give ──> waiting ──begun──> running ──ended──> gone
               └─────────────── refused ─────────────┘     (the seat ended with the runtime: counted, reported)

Choosing is deterministic, never by luck: among the seats of a kind, those that are ready before those that are not,
then the least loaded, then the one that was given something longest ago, then the lowest number.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from trio_uwsgi._core.targets import KINDS
from trio_uwsgi._wire.frames import MAX_MESSAGE
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._core.targets import Headcount, Kind, Target
    from trio_uwsgi._core.timer import Timer

__all__ = ["Delivery", "Roster", "Seat", "SeatState", "Tick"]


class SeatState(enum.Enum):
    """The life of the member on a seat."""

    STARTING = "starting"
    READY = "ready"
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

    `ticket` is unique in a runtime and grows. `origin` is the member that raised it, or `timer`.
    """

    ticket: int
    origin: str
    signum: int | None = None
    message: bytes | None = None
    tick: Tick | None = None


class Seat:
    """The place of one member. Written by the roster and the master only.

    Invariant: a delivery is in `signals`, `messages` or `running`, or nowhere; the first two are in the order they were
        given.
    """

    __slots__ = ("kind", "last_given", "messages", "name", "number", "running", "signals", "state")

    def __init__(self, kind: Kind | Literal["master"], number: int) -> None:
        self.kind = kind
        self.number = number
        self.name = f"{kind}{number}" if number else kind
        self.state = SeatState.STARTING
        self.signals: dict[int, Delivery] = {}
        self.messages: dict[int, Delivery] = {}
        self.running: dict[int, Delivery] = {}
        self.last_given = 0

    def __repr__(self) -> str:
        waiting = f"{len(self.signals)} signals and {len(self.messages)} messages waiting"
        return f"<Seat {self.name}: {self.state.value}, {waiting}, {len(self.running)} running>"

    @property
    def load(self) -> int:
        """Deliveries that are waiting or running."""
        return len(self.signals) + len(self.messages) + len(self.running)

    def waiting(self) -> list[Delivery]:
        """What was given and not begun, in the order it was given."""
        return sorted([*self.signals.values(), *self.messages.values()], key=lambda delivery: delivery.ticket)


def _turn(seat: Seat) -> tuple[bool, int, int, int]:
    return seat.state is not SeatState.READY, seat.load, seat.last_given, seat.number


class Roster:
    """All seats of a runtime, and the rules of who is next.

    Args:
        headcount: how many members of each kind there are.
        signal_queue: signals that may wait on one seat.
        message_queue: messages that may wait on one seat.
    """

    def __init__(self, headcount: Headcount, signal_queue: int, message_queue: int) -> None:
        self._seats: dict[Kind, list[Seat]] = {
            kind: [Seat(kind, n + 1) for n in range(headcount.of(kind))] for kind in KINDS
        }
        self._signal_queue = signal_queue
        self._message_queue = message_queue
        self._tickets = 0

    def __repr__(self) -> str:
        return f"<Roster: {', '.join(repr(seat) for seat in self.seats())}>"

    def seats(self, kind: Kind | None = None) -> list[Seat]:
        """The seats of one kind, or all: workers, mules, spoolers, each kind by number."""
        if kind is not None:
            return list(self._seats[kind])
        return [seat for seats in self._seats.values() for seat in seats]

    def next_of(self, kind: Kind) -> Seat | None:
        """The member of a kind whose turn it is; None when all have ended."""
        return min((s for s in self._seats[kind] if s.state is not SeatState.ENDED), key=_turn, default=None)

    def lend(self, kind: Kind) -> Seat:
        """The member of a kind whose turn it is, for work that does not wait on its seat; its turn is over with that.

        Raises:
            LookupError: all have ended.
        """
        seat = self.next_of(kind)
        if seat is None:
            raise LookupError(f"every {kind} has ended")
        self._ticket(seat)
        return seat

    def resolve(self, target: Target) -> Sequence[Seat]:
        """The seats a target means right now. Members that ended are left out; `active` also leaves out those that are
        not ready.
        """
        if target.reach == "one":
            seat = self.next_of(target.kind)
            return [] if seat is None else [seat]
        if target.reach == "exact":
            return [s for s in self._seats[target.kind] if s.number == target.number and s.state is not SeatState.ENDED]
        seats = [s for s in self._seats[target.kind] if s.state is not SeatState.ENDED]
        if target.reach == "active":
            return [s for s in seats if s.state is SeatState.READY]
        return seats

    def give_signal(
        self, signum: int, target: Target, origin: str, tick: Tick | None = None
    ) -> list[tuple[Seat, Delivery]]:
        """Put a signal on the seats its target means, all or none of them.

        Returns:
            Whom to send what; empty when the target means nobody right now.
        Raises:
            SignalQueueFull: one of the seats has its bound waiting; nobody was given anything.
        """
        seats = self.resolve(target)
        for seat in seats:
            if len(seat.signals) >= self._signal_queue:
                raise SignalQueueFull(signum, seat.name, self._signal_queue)
        given = [(seat, Delivery(self._ticket(seat), origin, signum, tick=tick)) for seat in seats]
        for seat, delivery in given:
            seat.signals[delivery.ticket] = delivery
        if tick is not None:
            tick.unfinished = len(given)
        return given

    def give_message(self, message: bytes, mule: int, origin: str) -> tuple[Seat, Delivery]:
        """Put a message on one mule's seat; `mule` 0 is the one whose turn it is.

        Raises:
            MuleError: there is no such mule, it has ended, or the message is larger than `MAX_MESSAGE`.
            MessageQueueFull: its seat has its bound waiting.
        """
        seats = self._seats["mule"]
        if not seats:
            raise MuleError("there is no mule to send a message to; set Config(mules=1)")
        if not 0 <= mule <= len(seats):
            raise MuleError(f"mule {mule} does not exist; use 1 to {len(seats)}, or 0 for any mule")
        if len(message) > MAX_MESSAGE:
            raise MuleError(
                f"a message of {len(message)} bytes is larger than {MAX_MESSAGE}; send a file's path, not its content"
            )
        seat = seats[mule - 1] if mule else self.next_of("mule")
        if seat is None or seat.state is SeatState.ENDED:
            raise MuleError("the message was not queued: the runtime is stopping and its mules have ended")
        if len(seat.messages) >= self._message_queue:
            raise MessageQueueFull(seat.name, self._message_queue)
        delivery = Delivery(self._ticket(seat), origin, message=message)
        seat.messages[delivery.ticket] = delivery
        return seat, delivery

    def _ticket(self, seat: Seat) -> int:
        self._tickets += 1
        seat.last_given = self._tickets
        return self._tickets

    def begun(self, seat: Seat, ticket: int) -> Delivery:
        """The member took a delivery from its queue and runs it now.

        Raises:
            KeyError: the seat has no such delivery waiting.
        """
        delivery = seat.signals.pop(ticket, None) or seat.messages.pop(ticket)
        seat.running[ticket] = delivery
        return delivery

    def ended(self, seat: Seat, ticket: int) -> Delivery:
        """The member has run a delivery, well or not.

        Raises:
            KeyError: the seat has no such delivery running.
        """
        return seat.running.pop(ticket)

    def retire(self, seat: Seat) -> list[Delivery]:
        """The member ended for good; what it had not begun is handed back, in order, for the report."""
        left = seat.waiting()
        seat.state = SeatState.ENDED
        seat.signals.clear()
        seat.messages.clear()
        return left
