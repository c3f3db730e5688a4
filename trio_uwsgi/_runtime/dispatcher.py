"""Decides which member gets the next signal or message; has the slots, their states and their queues. Pure.

Theory. Every member has a *slot*, from the start of the runtime to its end; member instances die, stop when they are
idle, and are replaced. What was delivered to a member and not begun waits in its slot, in order: that is the member's
queue. It has a bound, and it is here and not in the member, so that nothing that waits is lost when a member dies. The
member says `begun` when it takes a delivery from the queue and `ended` when it has run it.

    give ──> waiting ──begun──> running ──ended──> gone
               │  ^                └──── died ───> a signal is lost; a message waits again, once, first in the queue
               │  └─────────────────────────────┘
               └───────────── undelivered ─────────────>    (the slot ended with the runtime: counted, reported)

When the holder of a slot is replaced it begins nothing new. What it runs then is `draining` and ends with it; what
waits is for the replacement.

A *spare* slot has no instance until there is work: `activate` is called when something is delivered to it, and
`release` makes it vacant again if nothing waits or runs. Each is one step without a checkpoint, so nothing is delivered
to an instance that is stopping.

The choice is deterministic. Among the slots of a kind: first those whose queue has room, then those that are ready,
then the one with the fewest deliveries, then the one that was given something longest ago, then the lowest number. If
some of them are spare: the lowest number that is idle, then a vacant one, then the one with the fewest deliveries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from trio_uwsgi._link.encoding import MAX_MESSAGE
from trio_uwsgi._runtime.slots import Delivery, Reassignment, Slot, SlotState, Tick
from trio_uwsgi._signals.targets import KINDS
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Headcount, Kind, Target

__all__ = ["Dispatcher"]

Queue: TypeAlias = Literal["signals", "messages"]

# Members that can begin a delivery now come before those that cannot yet.
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
    # Ready or not: otherwise a burst that activates all slots at once would be queued in the ready ones only.
    return 2, slot.load, slot.last_given, slot.number


class Dispatcher:
    """All slots of a runtime, and the choice among them.

    Args:
        headcount: how many members of each kind there are, and the farms.
        signal_queue: how many signals may wait in one slot.
        message_queue: how many messages may wait in one slot.
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
        """The slots of one kind, or all: workers, mules, spoolers, each kind by number."""
        if kind is not None:
            return list(self._slots[kind])
        return [slot for slots in self._slots.values() for slot in slots]

    def add(self, kind: Kind, number: int) -> Slot:
        """Add a slot, with a number that no slot of the kind has."""
        slot = Slot(kind, number)
        self._slots[kind] = sorted([*self._slots[kind], slot], key=lambda slot: slot.number)
        return slot

    def remove(self, slot: Slot) -> None:
        """Deliver nothing more to this slot. It ends when its member has ended what waits and runs there."""
        assert slot.kind != "master"
        self._slots[slot.kind].remove(slot)

    def next_of(self, kind: Kind, farm: str = "", queue: Queue | None = None) -> Slot | None:
        """The slot of a kind, or of a farm, that is next; None when all have ended.

        A slot whose `queue` is full is chosen only if the queues of all others are full.
        """
        candidates = [slot for slot in self._members(kind, farm) if slot.state is not SlotState.ENDED]
        turn = _turn_in_pool if kind in self._pools else _turn
        slot = min(candidates, key=turn, default=None)
        if queue is not None and slot is not None and self._is_full(slot, queue):
            return min((other for other in candidates if not self._is_full(other, queue)), key=turn, default=slot)
        return slot

    def _is_full(self, slot: Slot, queue: Queue) -> bool:
        if queue == "signals":
            return len(slot.signals) >= self._signal_queue
        return len(slot.messages) >= self._message_queue

    def _members(self, kind: Kind, farm: str) -> list[Slot]:
        slots = self._slots[kind]
        return [slots[number - 1] for number in self._headcount.farms[farm]] if farm else slots

    def lend(self, kind: Kind) -> Slot:
        """The member of a kind that is next, for work that does not wait in its slot. This counts as its turn.

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
        """The slots that a target reaches right now: without those that have ended; if it reaches several, also without
        vacant ones; if it is for `active` members, also without those that are not ready.
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
        """Queue a signal in the slots that its target reaches, in all or none of them.

        Returns:
            Which slot was given which delivery; empty when the target reaches no slot right now.
        Raises:
            SignalQueueFull: the queue of one of the slots is full; no slot was given the signal.
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
        """Queue a message in the slot of a mule: the mule of this number, the next mule for 0, or the next mule of the
        farm of this name.

        Raises:
            MuleError: there is no such mule or farm, it has ended, or the message is larger than `MAX_MESSAGE`.
            MessageQueueFull: the queue of the slot is full.
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

    # ----- what becomes of a delivery

    def begun(self, slot: Slot, ticket: int) -> Delivery:
        """The member took a delivery from its queue, and runs it now.

        Raises:
            KeyError: the slot has no such delivery waiting.
        """
        delivery = slot.signals.pop(ticket, None) or slot.messages.pop(ticket)
        slot.running[ticket] = delivery
        return delivery

    def ended(self, slot: Slot, ticket: int) -> Delivery:
        """The member has run a delivery, successfully or not.

        Raises:
            KeyError: the slot has no such delivery running.
        """
        if ticket in slot.draining:
            return slot.draining.pop(ticket)
        delivery = slot.running.pop(ticket)
        if slot.on_idle is not None and not slot.load:
            slot.on_idle()
        return delivery

    # ----- the instances in a slot

    def activate(self, slot: Slot) -> None:
        """There is work for a slot: if it is vacant, it needs an instance now."""
        if slot.state is SlotState.VACANT:
            slot.state = SlotState.STARTING
            slot.on_activated()

    def ready(self, slot: Slot) -> None:
        """The instance in the slot serves."""
        slot.state = SlotState.READY
        if slot.on_idle is not None and not slot.load:
            slot.on_idle()

    def release(self, slot: Slot) -> bool:
        """Make the slot vacant, so that its instance can stop, if it is spare and nothing waits or runs. True: it is
        vacant, and what is delivered to it from now on is for the next instance.
        """
        if not slot.spare or slot.load or slot.state is not SlotState.READY:
            return False
        slot.state = SlotState.VACANT
        return True

    def member_died(self, slot: Slot, *, backs_off: bool) -> Reassignment:
        """The holder died. What it ran is lost, redelivered or dropped. What waited is for the next instance; if that
        starts after a pause (`backs_off`), waiting deliveries move to members that can run them now.
        """
        reassignment = self._reassign(slot, slot.running)
        slot.deaths += 1
        slot.state = SlotState.BACKING_OFF if backs_off else SlotState.STARTING
        if backs_off:
            reassignment.moved.extend(self._move(slot))
        return reassignment

    def _reassign(self, slot: Slot, running: dict[int, Delivery]) -> Reassignment:
        """Reassign what an instance ran that has ended."""
        reassignment = Reassignment([], [], [], [])
        for delivery in running.values():
            if delivery.message is None:
                reassignment.lost.append(delivery)
            elif delivery.deaths:
                reassignment.dropped.append(dataclasses.replace(delivery, deaths=delivery.deaths + 1))
            else:
                redelivered = dataclasses.replace(delivery, deaths=1)
                reassignment.redelivered.append(redelivered)
                slot.messages[redelivered.ticket] = redelivered
        running.clear()
        return reassignment

    def drain(self, slot: Slot) -> None:
        """The holder of the slot begins nothing new; what it runs drains, and its replacement takes over."""
        assert not slot.draining, f"{slot!r}: an instance drains already"
        slot.draining, slot.running = slot.running, {}
        slot.state = SlotState.STARTING

    def drained_instance_ended(self, slot: Slot) -> Reassignment:
        """The draining instance has ended. What it still ran is lost, redelivered or dropped, as after a death, but
        this does not count as a death in the slot.
        """
        reassignment = self._reassign(slot, slot.draining)
        if reassignment.redelivered:
            self.activate(slot)
        return reassignment

    def _move(self, slot: Slot) -> Iterable[tuple[Slot, Delivery]]:
        for delivery in slot.waiting():
            if delivery.among is None or delivery.deaths:  # a message that killed a member stays in this slot
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
        """The slot has ended. What was not begun is returned, in order, for the report."""
        undelivered = slot.waiting()
        slot.state = SlotState.ENDED
        slot.signals.clear()
        slot.messages.clear()
        return undelivered
