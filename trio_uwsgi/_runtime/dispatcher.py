"""Who exists, in which state, with how much waiting; and from there: who gets the next signal or message. Pure.

Theory. Every member has a *seat*, from the start of the runtime to its end, whoever sits on it: members die, and leave
when they have nothing to do, and others take their place. What a member has been given and has not begun waits on its
seat, in order, and no more than the seat's bound: that is the member's queue, and it lives here and not in the member,
so that nothing is lost when a member dies. The member says `begun` when it takes a delivery and `ended` when it has run
it.

    give ──> waiting ──begun──> running ──ended──> gone
               │  ^                └──── died ───> a signal is lost; a message waits again, once, first in the queue
               │  └─────────────────────────────┘
               └─────────────── refused ─────────────┘     (the seat ended with the runtime: counted, reported)

A member may hand its seat over to another one: from then on it begins nothing, what it runs leaves with it (`leaving`),
and what waits is for the one that follows.

A seat that is *spare* has nobody on it until there is work: `hire` is called when something is given to it, and
`vacate` lets its member go when nothing waits or runs. Each is one step, so that nothing is given to a member that has
left.

Choosing is deterministic, never by luck: among the seats of a kind, those whose queue has room before those whose has
none, then those that are ready before those that are not, then the least loaded, then the one that was given something
longest ago, then the lowest number. Where some of them are spare it is the lowest number that has nothing to do, then a
vacant one, then the least loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from trio_uwsgi._link.frames import MAX_MESSAGE
from trio_uwsgi._runtime.slots import Delivery, Remains, Seat, SeatState, Tick
from trio_uwsgi._signals.targets import KINDS
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Headcount, Kind, Target

__all__ = ["Roster"]

Queue: TypeAlias = Literal["signals", "messages"]

# Those who can begin something given to them now go before those who cannot yet.
_READINESS = {SeatState.READY: 0, SeatState.STARTING: 1, SeatState.RESTING: 2}


def _turn(seat: Seat) -> tuple[int, int, int, int]:
    return _READINESS[seat.state], seat.load, seat.last_given, seat.number


def _turn_in_pool(seat: Seat) -> tuple[int, int, int, int]:
    if seat.state is SeatState.VACANT:
        return 1, 0, 0, seat.number
    if seat.state is SeatState.RESTING:
        return 3, seat.load, seat.last_given, seat.number
    if not seat.load:
        return 0, _READINESS[seat.state], 0, seat.number
    # Ready or not: else a burst that hires all seats in one instant would go to those that were there before.
    return 2, seat.load, seat.last_given, seat.number


class Roster:
    """All seats of a runtime, and the rules of who is next.

    Args:
        headcount: how many members of each kind there are, and the farms.
        signal_queue: signals that may wait on one seat.
        message_queue: messages that may wait on one seat.
    """

    def __init__(self, headcount: Headcount, signal_queue: int, message_queue: int) -> None:
        self._headcount = headcount
        self._seats: dict[Kind, list[Seat]] = {
            kind: [Seat(kind, n + 1, spare=n >= headcount.least(kind)) for n in range(headcount.of(kind))]
            for kind in KINDS
        }
        self._pools = {kind for kind, seats in self._seats.items() if any(seat.spare for seat in seats)}
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

    def add(self, kind: Kind, number: int) -> Seat:
        """One seat more, of a number that no seat of the kind has."""
        seat = Seat(kind, number)
        self._seats[kind] = sorted([*self._seats[kind], seat], key=lambda seat: seat.number)
        return seat

    def remove(self, seat: Seat) -> None:
        """Give this seat nothing any more: it ends when its member has ended what is on it."""
        assert seat.kind != "master"
        self._seats[seat.kind].remove(seat)

    def next_of(self, kind: Kind, farm: str = "", queue: Queue | None = None) -> Seat | None:
        """The seat of a kind, or of a farm, whose turn it is; None when all have ended.

        One whose `queue` is full is chosen only if the queues of all others are.
        """
        there = [seat for seat in self._members(kind, farm) if seat.state is not SeatState.ENDED]
        turn = _turn_in_pool if kind in self._pools else _turn
        seat = min(there, key=turn, default=None)
        if queue is not None and seat is not None and self._is_full(seat, queue):
            return min((other for other in there if not self._is_full(other, queue)), key=turn, default=seat)
        return seat

    def _is_full(self, seat: Seat, queue: Queue) -> bool:
        if queue == "signals":
            return len(seat.signals) >= self._signal_queue
        return len(seat.messages) >= self._message_queue

    def _members(self, kind: Kind, farm: str) -> list[Seat]:
        seats = self._seats[kind]
        return [seats[number - 1] for number in self._headcount.farms[farm]] if farm else seats

    def lend(self, kind: Kind) -> Seat:
        """The member of a kind whose turn it is, for work that does not wait on its seat; its turn is over with that.

        Raises:
            LookupError: all have ended, or none is ready.
        """
        seat = self.next_of(kind)
        if seat is None:
            raise LookupError(f"every {kind} has ended")
        if seat.state is not SeatState.READY:
            raise LookupError(f"no {kind} is ready: {seat.name} is {seat.state.value}")
        self._ticket(seat)
        return seat

    def resolve(self, target: Target) -> Sequence[Seat]:
        """The seats a target means right now. Those that ended are left out; of several members, also those that are
        vacant; `active` also leaves out those that are not ready.
        """
        if target.reach in ("one", "farm"):
            seat = self.next_of(target.kind, target.farm_of(self._headcount), "signals")
            return [] if seat is None else [seat]
        if target.reach == "exact":
            return [s for s in self._seats[target.kind] if s.number == target.number and s.state is not SeatState.ENDED]
        seats = [s for s in self._seats[target.kind] if s.state is not SeatState.ENDED]
        if target.reach == "active":
            return [s for s in seats if s.state is SeatState.READY]
        return [s for s in seats if s.state is not SeatState.VACANT]

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
            if self._is_full(seat, "signals"):
                raise SignalQueueFull(signum, seat.name, self._signal_queue)
        among = target.farm_of(self._headcount) if target.reach in ("one", "farm") else None
        given = [(seat, Delivery(self._ticket(seat), origin, signum, tick=tick, among=among)) for seat in seats]
        for seat, delivery in given:
            seat.signals[delivery.ticket] = delivery
            self.hire(seat)
        if tick is not None:
            tick.unfinished = len(given)
        return given

    def give_message(self, message: bytes, mule: int | str, origin: str) -> tuple[Seat, Delivery]:
        """Put a message on one mule's seat; `mule` is its number, 0 for the one whose turn it is, or the name of a farm
        for the one of its members.

        Raises:
            MuleError: there is no such mule or farm, it has ended, or the message is larger than `MAX_MESSAGE`.
            MessageQueueFull: its seat has its bound waiting.
        """
        farm = mule if isinstance(mule, str) else ""
        self._check_recipient(mule)
        if len(message) > MAX_MESSAGE:
            raise MuleError(
                f"a message of {len(message)} bytes is larger than {MAX_MESSAGE}; send a file's path, not its content"
            )
        seat = (
            self._seats["mule"][mule - 1] if isinstance(mule, int) and mule else self.next_of("mule", farm, "messages")
        )
        if seat is None or seat.state is SeatState.ENDED:
            raise MuleError("the message was not queued: the runtime is stopping and its mules have ended")
        if self._is_full(seat, "messages"):
            raise MessageQueueFull(seat.name, self._message_queue)
        among = farm if farm or not mule else None
        delivery = Delivery(self._ticket(seat), origin, message=message, among=among, farm=farm)
        seat.messages[delivery.ticket] = delivery
        self.hire(seat)
        return seat, delivery

    def _check_recipient(self, mule: int | str) -> None:
        count = len(self._seats["mule"])
        if isinstance(mule, str):
            if mule not in self._headcount.farms:
                raise MuleError(self._headcount.no_farm(mule))
        elif not count:
            raise MuleError("there is no mule to send a message to; set Config(mules=1), on the command line --mules 1")
        elif not 0 <= mule <= count:
            these = f"1 to {count}" if count > 1 else "1"
            raise MuleError(f"mule {mule} does not exist; use {these}, or 0 for any mule")

    def _ticket(self, seat: Seat) -> int:
        self._tickets += 1
        seat.last_given = self._tickets
        return self._tickets

    # ----- the life of a delivery

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
        if ticket in seat.leaving:
            return seat.leaving.pop(ticket)
        delivery = seat.running.pop(ticket)
        if seat.on_idle is not None and not seat.load:
            seat.on_idle()
        return delivery

    # ----- the lives on a seat

    def hire(self, seat: Seat) -> None:
        """There is work for a seat: if nobody is there, somebody is to come."""
        if seat.state is SeatState.VACANT:
            seat.state = SeatState.STARTING
            seat.on_hired()

    def ready(self, seat: Seat) -> None:
        """The member on the seat serves."""
        seat.state = SeatState.READY
        if seat.on_idle is not None and not seat.load:
            seat.on_idle()

    def vacate(self, seat: Seat) -> bool:
        """May the member leave? It may if its seat is spare and has nothing on it; from then on nobody is there, and
        what is given to the seat is for the next member.
        """
        if not seat.spare or seat.load or seat.state is not SeatState.READY:
            return False
        seat.state = SeatState.VACANT
        return True

    def bury(self, seat: Seat, *, rests: bool) -> Remains:
        """The member died. What it had begun is dealt with; what it had not begun waits for the next one, unless that
        comes after a pause (`rests`) and another member can do it before.
        """
        remains = self._deal_with(seat, seat.running)
        seat.deaths += 1
        seat.state = SeatState.RESTING if rests else SeatState.STARTING
        if rests:
            remains.moved.extend(self._move(seat))
        return remains

    def _deal_with(self, seat: Seat, running: dict[int, Delivery]) -> Remains:
        """What a member ran that is no more."""
        remains = Remains([], [], [], [])
        for delivery in running.values():
            if delivery.message is None:
                remains.lost.append(delivery)
            elif delivery.deaths:
                remains.dropped.append(dataclasses.replace(delivery, deaths=delivery.deaths + 1))
            else:
                again = dataclasses.replace(delivery, deaths=1)
                remains.again.append(again)
                seat.messages[again.ticket] = again
        running.clear()
        return remains

    def hand_over(self, seat: Seat) -> None:
        """The member on the seat begins nothing any more, and leaves with what it runs; another one follows."""
        assert not seat.leaving, f"{seat!r}: one leaves already"
        seat.leaving, seat.running = seat.running, {}
        seat.state = SeatState.STARTING

    def left(self, seat: Seat) -> Remains:
        """The member that was leaving is gone. What it had not ended is dealt with as after a death, but it is none of
        the seat's, whoever has that now.
        """
        remains = self._deal_with(seat, seat.leaving)
        if remains.again:
            self.hire(seat)
        return remains

    def _move(self, seat: Seat) -> Iterable[tuple[Seat, Delivery]]:
        for delivery in seat.waiting():
            if delivery.among is None or delivery.deaths:  # what kills members stays with the one that rests
                continue
            assert seat.kind != "master"
            queue: Queue = "messages" if delivery.signum is None else "signals"
            other = self.next_of(seat.kind, delivery.among, queue)
            if other is None or other.state is SeatState.RESTING or self._is_full(other, queue):
                continue
            if queue == "messages":
                other.messages[delivery.ticket] = seat.messages.pop(delivery.ticket)
            else:
                other.signals[delivery.ticket] = seat.signals.pop(delivery.ticket)
            other.last_given = self._tickets
            self.hire(other)
            yield other, delivery

    def retire(self, seat: Seat) -> list[Delivery]:
        """The seat ended with the runtime; what nobody had begun is handed back, in order, for the report."""
        left = seat.waiting()
        seat.state = SeatState.ENDED
        seat.signals.clear()
        seat.messages.clear()
        return left
