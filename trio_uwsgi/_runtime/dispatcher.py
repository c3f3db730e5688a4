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

A seat that is *spare* has nobody on it until there is work: `activate` is called when something is given to it, and
`release` lets its member go when nothing waits or runs. Each is one step, so that nothing is given to a member that has
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
from trio_uwsgi._runtime.slots import Delivery, Reassignment, Slot, SlotState, Tick
from trio_uwsgi._signals.targets import KINDS
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Headcount, Kind, Target

__all__ = ["Dispatcher"]

Queue: TypeAlias = Literal["signals", "messages"]

# Those who can begin something given to them now go before those who cannot yet.
_READINESS = {SlotState.READY: 0, SlotState.STARTING: 1, SlotState.BACKING_OFF: 2}


def _turn(slot: Slot) -> tuple[int, int, int, int]:
    return _READINESS[slot.state], slot.load, slot.last_given, slot.number


def _turn_in_pool(slot: Slot) -> tuple[int, int, int, int]:
    if slot.state is SlotState.VACANT:
        return 1, 0, 0, slot.number
    if slot.state is SlotState.BACKING_OFF:
        return 3, slot.load, slot.last_given, slot.number
    if not slot.load:
        return 0, _READINESS[slot.state], 0, slot.number
    # Ready or not: else a burst that hires all seats in one instant would go to those that were there before.
    return 2, slot.load, slot.last_given, slot.number


class Dispatcher:
    """All seats of a runtime, and the rules of who is next.

    Args:
        headcount: how many members of each kind there are, and the farms.
        signal_queue: signals that may wait on one seat.
        message_queue: messages that may wait on one seat.
    """

    def __init__(self, headcount: Headcount, signal_queue: int, message_queue: int) -> None:
        self._headcount = headcount
        self._slots: dict[Kind, list[Slot]] = {
            kind: [Slot(kind, n + 1, spare=n >= headcount.least(kind)) for n in range(headcount.of(kind))]
            for kind in KINDS
        }
        self._pools = {kind for kind, slots in self._slots.items() if any(slot.spare for slot in slots)}
        self._signal_queue = signal_queue
        self._message_queue = message_queue
        self._tickets = 0

    def __repr__(self) -> str:
        return f"<Dispatcher: {', '.join(repr(slot) for slot in self.slots())}>"

    def slots(self, kind: Kind | None = None) -> list[Slot]:
        """The seats of one kind, or all: workers, mules, spoolers, each kind by number."""
        if kind is not None:
            return list(self._slots[kind])
        return [slot for slots in self._slots.values() for slot in slots]

    def add(self, kind: Kind, number: int) -> Slot:
        """One seat more, of a number that no seat of the kind has."""
        slot = Slot(kind, number)
        self._slots[kind] = sorted([*self._slots[kind], slot], key=lambda slot: slot.number)
        return slot

    def remove(self, slot: Slot) -> None:
        """Give this seat nothing any more: it ends when its member has ended what is on it."""
        assert slot.kind != "master"
        self._slots[slot.kind].remove(slot)

    def next_of(self, kind: Kind, farm: str = "", queue: Queue | None = None) -> Slot | None:
        """The seat of a kind, or of a farm, whose turn it is; None when all have ended.

        One whose `queue` is full is chosen only if the queues of all others are.
        """
        there = [slot for slot in self._members(kind, farm) if slot.state is not SlotState.ENDED]
        turn = _turn_in_pool if kind in self._pools else _turn
        slot = min(there, key=turn, default=None)
        if queue is not None and slot is not None and self._is_full(slot, queue):
            return min((other for other in there if not self._is_full(other, queue)), key=turn, default=slot)
        return slot

    def _is_full(self, slot: Slot, queue: Queue) -> bool:
        if queue == "signals":
            return len(slot.signals) >= self._signal_queue
        return len(slot.messages) >= self._message_queue

    def _members(self, kind: Kind, farm: str) -> list[Slot]:
        slots = self._slots[kind]
        return [slots[number - 1] for number in self._headcount.farms[farm]] if farm else slots

    def lend(self, kind: Kind) -> Slot:
        """The member of a kind whose turn it is, for work that does not wait on its seat; its turn is over with that.

        Raises:
            LookupError: all have ended, or none is ready.
        """
        slot = self.next_of(kind)
        if slot is None:
            raise LookupError(f"every {kind} has ended")
        if slot.state is not SlotState.READY:
            raise LookupError(f"no {kind} is ready: {slot.name} is {slot.state.value}")
        self._ticket(slot)
        return slot

    def resolve(self, target: Target) -> Sequence[Slot]:
        """The seats a target means right now. Those that ended are left out; of several members, also those that are
        vacant; `active` also leaves out those that are not ready.
        """
        if target.reach in ("one", "farm"):
            slot = self.next_of(target.kind, target.farm_of(self._headcount), "signals")
            return [] if slot is None else [slot]
        if target.reach == "exact":
            return [s for s in self._slots[target.kind] if s.number == target.number and s.state is not SlotState.ENDED]
        slots = [s for s in self._slots[target.kind] if s.state is not SlotState.ENDED]
        if target.reach == "active":
            return [s for s in slots if s.state is SlotState.READY]
        return [s for s in slots if s.state is not SlotState.VACANT]

    def give_signal(
        self, signum: int, target: Target, origin: str, tick: Tick | None = None
    ) -> list[tuple[Slot, Delivery]]:
        """Put a signal on the seats its target means, all or none of them.

        Returns:
            Whom to send what; empty when the target means nobody right now.
        Raises:
            SignalQueueFull: one of the seats has its bound waiting; nobody was given anything.
        """
        slots = self.resolve(target)
        for slot in slots:
            if self._is_full(slot, "signals"):
                raise SignalQueueFull(signum, slot.name, self._signal_queue)
        among = target.farm_of(self._headcount) if target.reach in ("one", "farm") else None
        given = [(slot, Delivery(self._ticket(slot), origin, signum, tick=tick, among=among)) for slot in slots]
        for slot, delivery in given:
            slot.signals[delivery.ticket] = delivery
            self.activate(slot)
        if tick is not None:
            tick.unfinished = len(given)
        return given

    def give_message(self, message: bytes, mule: int | str, origin: str) -> tuple[Slot, Delivery]:
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
        slot = (
            self._slots["mule"][mule - 1] if isinstance(mule, int) and mule else self.next_of("mule", farm, "messages")
        )
        if slot is None or slot.state is SlotState.ENDED:
            raise MuleError("the message was not queued: the runtime is stopping and its mules have ended")
        if self._is_full(slot, "messages"):
            raise MessageQueueFull(slot.name, self._message_queue)
        among = farm if farm or not mule else None
        delivery = Delivery(self._ticket(slot), origin, message=message, among=among, farm=farm)
        slot.messages[delivery.ticket] = delivery
        self.activate(slot)
        return slot, delivery

    def _check_recipient(self, mule: int | str) -> None:
        count = len(self._slots["mule"])
        if isinstance(mule, str):
            if mule not in self._headcount.farms:
                raise MuleError(self._headcount.no_farm(mule))
        elif not count:
            raise MuleError("there is no mule to send a message to; set Config(mules=1), on the command line --mules 1")
        elif not 0 <= mule <= count:
            these = f"1 to {count}" if count > 1 else "1"
            raise MuleError(f"mule {mule} does not exist; use {these}, or 0 for any mule")

    def _ticket(self, slot: Slot) -> int:
        self._tickets += 1
        slot.last_given = self._tickets
        return self._tickets

    # ----- the life of a delivery

    def begun(self, slot: Slot, ticket: int) -> Delivery:
        """The member took a delivery from its queue and runs it now.

        Raises:
            KeyError: the seat has no such delivery waiting.
        """
        delivery = slot.signals.pop(ticket, None) or slot.messages.pop(ticket)
        slot.running[ticket] = delivery
        return delivery

    def ended(self, slot: Slot, ticket: int) -> Delivery:
        """The member has run a delivery, well or not.

        Raises:
            KeyError: the seat has no such delivery running.
        """
        if ticket in slot.leaving:
            return slot.leaving.pop(ticket)
        delivery = slot.running.pop(ticket)
        if slot.on_idle is not None and not slot.load:
            slot.on_idle()
        return delivery

    # ----- the lives on a seat

    def activate(self, slot: Slot) -> None:
        """There is work for a seat: if nobody is there, somebody is to come."""
        if slot.state is SlotState.VACANT:
            slot.state = SlotState.STARTING
            slot.on_activated()

    def ready(self, slot: Slot) -> None:
        """The member on the seat serves."""
        slot.state = SlotState.READY
        if slot.on_idle is not None and not slot.load:
            slot.on_idle()

    def release(self, slot: Slot) -> bool:
        """May the member leave? It may if its seat is spare and has nothing on it; from then on nobody is there, and
        what is given to the seat is for the next member.
        """
        if not slot.spare or slot.load or slot.state is not SlotState.READY:
            return False
        slot.state = SlotState.VACANT
        return True

    def member_died(self, slot: Slot, *, rests: bool) -> Reassignment:
        """The member died. What it had begun is dealt with; what it had not begun waits for the next one, unless that
        comes after a pause (`rests`) and another member can do it before.
        """
        remains = self._deal_with(slot, slot.running)
        slot.deaths += 1
        slot.state = SlotState.BACKING_OFF if rests else SlotState.STARTING
        if rests:
            remains.moved.extend(self._move(slot))
        return remains

    def _deal_with(self, slot: Slot, running: dict[int, Delivery]) -> Reassignment:
        """What a member ran that is no more."""
        remains = Reassignment([], [], [], [])
        for delivery in running.values():
            if delivery.message is None:
                remains.lost.append(delivery)
            elif delivery.deaths:
                remains.dropped.append(dataclasses.replace(delivery, deaths=delivery.deaths + 1))
            else:
                again = dataclasses.replace(delivery, deaths=1)
                remains.again.append(again)
                slot.messages[again.ticket] = again
        running.clear()
        return remains

    def drain(self, slot: Slot) -> None:
        """The member on the seat begins nothing any more, and leaves with what it runs; another one follows."""
        assert not slot.leaving, f"{slot!r}: one leaves already"
        slot.leaving, slot.running = slot.running, {}
        slot.state = SlotState.STARTING

    def instance_left(self, slot: Slot) -> Reassignment:
        """The member that was leaving is gone. What it had not ended is dealt with as after a death, but it is none of
        the seat's, whoever has that now.
        """
        remains = self._deal_with(slot, slot.leaving)
        if remains.again:
            self.activate(slot)
        return remains

    def _move(self, slot: Slot) -> Iterable[tuple[Slot, Delivery]]:
        for delivery in slot.waiting():
            if delivery.among is None or delivery.deaths:  # what kills members stays with the one that rests
                continue
            assert slot.kind != "master"
            queue: Queue = "messages" if delivery.signum is None else "signals"
            other = self.next_of(slot.kind, delivery.among, queue)
            if other is None or other.state is SlotState.BACKING_OFF or self._is_full(other, queue):
                continue
            if queue == "messages":
                other.messages[delivery.ticket] = slot.messages.pop(delivery.ticket)
            else:
                other.signals[delivery.ticket] = slot.signals.pop(delivery.ticket)
            other.last_given = self._tickets
            self.activate(other)
            yield other, delivery

    def retire(self, slot: Slot) -> list[Delivery]:
        """The seat ended with the runtime; what nobody had begun is handed back, in order, for the report."""
        undelivered = slot.waiting()
        slot.state = SlotState.ENDED
        slot.signals.clear()
        slot.messages.clear()
        return undelivered
