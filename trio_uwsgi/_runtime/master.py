"""The master: routes signals and messages to members, arms the timers, and keeps track of the member instances.

Theory. Everything the master decides it decides in plain functions that never wait: a frame of a member is obeyed to
the end before the next one is read, so there is one order of events and no lock. What must wait (the due time of a
timer, the run of a member instance) is a task in `_signals/ticker.py` or `supervisor.py` that calls in here.

The path of a signal: `raise_signal` asks the registry for the signal's target and the dispatcher for the slots that it
reaches, and sends each its delivery. A member answers `Begun` and `Ended`; the slot knows what waits and what runs. A
timer's tick is a signal that also refers to its timer: the timer is informed when the first run of a tick has begun and
when the last one has ended, so that late ticks follow the timer's policy. Changes of monitored files do the same.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import (
    AddFileMonitor,
    AddTimer,
    Alarm,
    AreaChanged,
    Begun,
    CancelTimer,
    Closed,
    Deliver,
    Drain,
    Drained,
    Ended,
    Forget,
    Frame,
    Lock,
    Post,
    Raise,
    Ready,
    Register,
    Reload,
    ReplaceMe,
    ShutdownRequest,
    Stop,
    StopRuntime,
    TakeOver,
    Unlock,
)
from trio_uwsgi._runtime.declarations_in_force import Declarations
from trio_uwsgi._runtime.member_instance import MemberInstance, stop_by
from trio_uwsgi._runtime.placement import Died
from trio_uwsgi._runtime.slots import Delivery, Reassignment, Slot, SlotState, Tick, signal_numbers
from trio_uwsgi._runtime.statistics import MessageStatistics, SignalStatistics
from trio_uwsgi._signals.handlers import check_signum
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._alarms.alarms import Alarms
    from trio_uwsgi._link.link import Link
    from trio_uwsgi._locks.remote import LockKeeper
    from trio_uwsgi._runtime.dispatcher import Dispatcher
    from trio_uwsgi._runtime.placement import Ending
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._signals.ticker import Ticker
    from trio_uwsgi._units.journal import Journal

__all__ = ["Master"]

logger = logging.getLogger("trio_uwsgi")


class Master:
    """The routing of one runtime.

    Args:
        registry: what the application declared.
        dispatcher: the slots, and the choice among them.
        ticker: the timers.
        journal: records what happened.
    """

    def __init__(self, registry: Registry, dispatcher: Dispatcher, ticker: Ticker, journal: Journal) -> None:
        self.declared = Declarations(registry, ticker, self._raise_due)
        self.dispatcher = dispatcher
        self.ticker = ticker
        self.journal = journal
        # The pseudo-member "master", for code that no worker, mule or spooler runs: a lifespan, an alarm.
        self.instance = MemberInstance(Slot("master", 0))
        self.all_ready = trio.Event()
        self.on_replace_me: Callable[[MemberInstance, str], None] = _ignore
        self.on_reload: Callable[[], None] = _ignore
        self.on_stop: Callable[[], None] = _ignore
        self._instances: dict[str, MemberInstance] = {}  # all that run, by name
        self._holders: dict[str, MemberInstance] = {}  # those of them that hold their slot, by its name
        self._stopping: dict[str, Callable[[], Stop]] = {}  # for each instance that is in these slots, by name
        self.told: dict[type[Frame], Frame] = {}  # what all members were told last, by kind
        self._raised = self._refused = self._unregistered = self._delivered = self._undelivered = self._lost = 0
        self._messages = dict.fromkeys((field.name for field in dataclasses.fields(MessageStatistics)), 0)
        self.alarms: Alarms
        self.locks: LockKeeper | None = None  # where members are processes

    def statistics(self) -> SignalStatistics:
        """The counters of signals, as they are now."""
        counts = self._raised, self._refused, self._unregistered, self._delivered, self._undelivered, self._lost
        return SignalStatistics(*counts)

    def message_statistics(self) -> MessageStatistics:
        """The counters of messages, as they are now."""
        return MessageStatistics(**self._messages)

    # ----- members

    def attach(self, instance: MemberInstance, link: Link) -> None:
        """Note that an instance runs. If it holds its slot, it is sent what waits there when it says `Ready`."""
        instance.link = link
        self._instances[instance.name] = instance
        for frame in self.told.values():
            link.send(frame)
        if instance.holds_slot:
            self._take_slot(instance)

    def _take_slot(self, instance: MemberInstance) -> None:
        self._holders[instance.slot.name] = instance
        instance.slot.state = SlotState.STARTING
        if instance.replacement:
            instance.link.send(TakeOver())
            for frame in instance.held:
                self.obey(instance, frame)
        if instance.ready:
            self._serve(instance)

    def detach(self, instance: MemberInstance) -> None:
        """Note that an instance has ended. If it held its slot, new deliveries wait there for the next instance."""
        del self._instances[instance.name]
        instance.closed.set()
        if self.locks is not None:
            self.locks.forget_member(instance.name)
        if self._holders.get(instance.slot.name) is instance:
            del self._holders[instance.slot.name]
            if instance.slot.state is SlotState.READY:
                instance.slot.state = SlotState.STARTING

    # ----- replacement without downtime: see `supervisor.py`

    def drain(self, slot: Slot) -> None:
        """Have the holder of this slot drain. It begins nothing new, and answers `Drained`."""
        slot.state = SlotState.STARTING
        if slot.name in self._holders:  # else it has just died, which its supervisor will notice
            self._holders[slot.name].link.send(Drain())

    def _instance_drained(self, instance: MemberInstance) -> None:
        self.dispatcher.drain(instance.slot)
        del self._holders[instance.slot.name]
        instance.drained = True
        instance.on_change()

    def take_over(self, instance: MemberInstance) -> None:
        """Make a replacement the holder of its slot, which has none now."""
        instance.holds_slot = True
        if instance.name in self._instances:
            self._take_slot(instance)

    def drained_instance_ended(self, instance: MemberInstance, ending: Ending) -> None:
        """Note that a drained instance has ended, by itself or not. That does not count as a death in its slot."""
        self.journal.note(instance.slot.name, "replaced")
        if isinstance(ending, Died):
            logger.error("%s died while it was draining: %s", instance.slot.name, ending.reason)
        reassignment = self.dispatcher.drained_instance_ended(instance.slot)
        self._report(instance.slot, reassignment)
        self._send_ready((instance.slot, delivery) for delivery in reassignment.redelivered)

    def adopt(self, registry: Registry, headcount: Headcount) -> None:
        """Use the declarations of new code from now on; see `Declarations.adopt`."""
        self.declared.adopt(registry, headcount, self._instances.values())

    # ----- deaths, and the end

    def member_died(self, slot: Slot, reason: str, pause: float | None) -> None:
        """The holder of this slot died. Report it, and reassign its deliveries. It is restarted after `pause` seconds;
        None: not at all.
        """
        reassignment = self.dispatcher.member_died(slot, backs_off=pause != 0)
        self.journal.note(slot.name, "died")
        again = "it is not restarted" if pause is None else f"restarting it {f'in {pause:g} s' if pause else 'at once'}"
        logger.error("%s died (%s); %s", slot.name, reason, again)
        self._report(slot, reassignment)
        self._send_ready(reassignment.moved)

    def _report(self, slot: Slot, reassignment: Reassignment) -> None:
        if reassignment.lost:
            self._lost += len(reassignment.lost)
            logger.error("%s: lost the signals that it ran: %s", slot.name, signal_numbers(reassignment.lost))
        for delivery in reassignment.lost:
            self._tick_ended(delivery)
        for delivery in reassignment.redelivered:
            logger.warning("%s: redelivering the message of %d bytes that it handled", slot.name, delivery.size)
        for delivery in reassignment.dropped:
            self._messages["lost"] += 1
            what = "%s: dropped a message of %d bytes: %d mules died while they handled it"
            logger.error(what, slot.name, delivery.size, delivery.deaths)

    def retire(self, slot: Slot) -> None:
        """The slot has ended. What was not begun is counted and reported."""
        self._stopping.pop(slot.name, None)
        undelivered = self.dispatcher.retire(slot)
        for delivery in [*undelivered, *slot.running.values()]:
            self._tick_ended(delivery)
        slot.running.clear()
        signals = [delivery for delivery in undelivered if delivery.signum is not None]
        self._undelivered += len(signals)
        if signals:
            logger.warning("%s ended; signals that were not run: %s", slot.name, signal_numbers(signals))
        if messages := len(undelivered) - len(signals):
            self._messages["undelivered"] += messages
            logger.warning("%s ended; messages that were not handled: %d", slot.name, messages)

    async def wait_closed(self, slot: Slot) -> None:
        """Wait until the instances in this slot accept no more connections, or have ended."""
        for instance in [instance for instance in self._instances.values() if instance.slot is slot]:
            await instance.closed.wait()

    def send(self, name: str, frame: Frame) -> None:
        """Send a frame to the instance of this name, if it runs."""
        if (instance := self._instances.get(name)) is not None:
            instance.link.send(frame)

    def stop(self, slot: Slot, deadline: float, *, patient: bool = False) -> None:
        """Have the member in this slot run what waits, end what it runs, and stop: now, or as soon as it is ready."""
        self._stopping[slot.name] = stop = partial(stop_by, deadline, patient)
        if slot.state is SlotState.READY:
            self._holders[slot.name].link.send(stop())

    def is_stopping(self, slot: Slot) -> bool:
        """Whether `stop` was called for this slot."""
        return slot.name in self._stopping

    def tell_all(self, frame: Frame) -> None:
        """Send a frame to all members; those that start later get the last one of its kind."""
        self.told[type(frame)] = frame
        for instance in self._instances.values():
            instance.link.send(frame)

    def release(self, slot: Slot) -> bool:
        """Stop an idle member, and make its slot vacant. False: it is not idle, or its slot is not spare."""
        if not self.dispatcher.release(slot):
            return False
        self.journal.note(slot.name, "stopped idle")
        self._holders[slot.name].link.send(Stop())
        return True

    def obey(self, instance: MemberInstance, frame: Frame) -> None:
        """Do what a frame of a member asks for. For `Raise` and `Post`: raises what `raise_signal` and `post` raise."""
        slot = instance.slot
        # Most frames are one of these three, for which a `match` takes three times as long.
        if isinstance(frame, Begun):
            self._begun(slot, frame.ticket)
            return
        if isinstance(frame, Ended):
            self._ended(slot, frame.ticket)
            return
        if isinstance(frame, Raise):
            self.raise_signal(frame.signum, slot.name)
            return
        match frame:
            case Post(mule, message):
                self.post(message, mule, slot.name)
            case AddTimer() | CancelTimer() | AddFileMonitor() | Register():
                self.declared.obey(instance, frame)
            case Alarm(name, message):
                self.alarms.ring(name, message)
            case AreaChanged():
                for other in self._instances.values():
                    other.link.send(frame)
            case ShutdownRequest():
                if self._holders.get(slot.name) is instance:
                    self.release(slot)
            case Closed():
                instance.closed.set()
            case Drained():
                self._instance_drained(instance)
            case ReplaceMe(reason):
                self.on_replace_me(instance, reason)
            case Reload():
                self.on_reload()
            case StopRuntime():
                self.on_stop()
            case Lock() | Unlock() | Forget() if self.locks is not None:
                self.locks.obey(instance.name, frame)
            case Ready():
                instance.ready = True
                instance.on_change()
                if instance.holds_slot:
                    self._serve(instance)
            case _:
                raise TypeError(f"{slot.name} sent {frame!r}, which is not a frame for the master")

    def _serve(self, instance: MemberInstance) -> None:
        slot = instance.slot
        self.dispatcher.ready(slot)
        if all(other.state in (SlotState.READY, SlotState.VACANT) for other in self.dispatcher.slots()):
            self.all_ready.set()
        for delivery in slot.waiting():
            self._send(slot, delivery)
        if slot.name in self._stopping:
            instance.link.send(self._stopping[slot.name]())

    # ----- signals and messages

    def raise_signal(self, signum: int, origin: str) -> None:
        """Route a signal to the members that its target reaches.

        Raises:
            RegistrationError: `signum` is not 0 to 255.
            SignalQueueFull: the queue of one recipient is full; no recipient was given the signal.
        """
        check_signum(signum)
        self._route(signum, origin, None)

    def _raise_due(self, signum: int, origin: str, begin: Callable[[], None], end: Callable[[bool], None]) -> None:
        """Raise the signal of a timer or a file monitor. One that reaches no member is dropped and logged."""
        try:
            reached = self._route(signum, origin, Tick(begin, end))
        except SignalQueueFull as error:
            logger.error("dropped a signal of a %s: %s", origin, error)
            reached = False
        if not reached:
            end(False)

    def _route(self, signum: int, origin: str, tick: Tick | None) -> bool:
        signal = self.declared.registry.signals.get(signum)
        if signal is None:
            self._unregistered += 1
            self.journal.note(self.instance.slot.name, f"signal {signum} unregistered")
            logger.warning("signal %d was raised by %s, but no handler is registered for it", signum, origin)
            return False
        try:
            given = self.dispatcher.give_signal(signum, signal.target, origin, tick)
        except SignalQueueFull:
            self._refused += 1
            raise
        self._raised += 1
        if not given:
            self._undelivered += 1
            logger.warning(
                "dropped signal %d of %s: no member of its target %r runs", signum, origin, signal.target.text
            )
        self._send_ready(given)
        return bool(given)

    def post(self, message: bytes, mule: int | str, origin: str) -> None:
        """Queue a message for a mule, 0 for any, or for one of the farm of this name.

        Raises:
            MuleError: there is no such mule or farm.
            MessageQueueFull: its queue is full.
        """
        try:
            given = self.dispatcher.give_message(message, mule, origin)
        except (MuleError, MessageQueueFull):
            self._messages["refused"] += 1
            raise
        self._messages["queued"] += 1
        self._send_ready([given])

    def _send_ready(self, given: Iterable[tuple[Slot, Delivery]]) -> None:
        """Send deliveries to the members that are ready; the others get theirs when they are ready."""
        for slot, delivery in given:
            if slot.state is SlotState.READY:
                self._send(slot, delivery)

    def _send(self, slot: Slot, delivery: Delivery) -> None:
        message = delivery.message or b""
        frame = Deliver(delivery.ticket, delivery.signum, message, delivery.farm, redelivered=bool(delivery.deaths))
        self._holders[slot.name].link.send(frame)

    def _begun(self, slot: Slot, ticket: int) -> None:
        delivery = self.dispatcher.begun(slot, ticket)
        if delivery.signum is not None:
            self._delivered += 1
        else:
            self._messages["redelivered" if delivery.deaths else "delivered"] += 1
        if delivery.tick is not None:
            delivery.tick.begin_run()

    def _ended(self, slot: Slot, ticket: int) -> None:
        self._tick_ended(self.dispatcher.ended(slot, ticket))

    def _tick_ended(self, delivery: Delivery) -> None:
        if delivery.tick is not None:
            delivery.tick.end_run()

    async def run(self) -> None:
        """Raise the signals of timers when they are due, until cancelled."""
        await self.ticker.run()


def _ignore(*asked: object) -> None:
    """Members that are tasks cannot be replaced."""
