"""The master: routes signals and messages, keeps the timers, watches the members come and go. Floor 3.

Theory. Everything the master decides it decides in plain functions that never wait: a frame of a member is obeyed to
the end before the next one is looked at, so there is one order of events and no lock. What must wait (a timer's due
time, a member's life) is a task in `sources.py` or `placement.py` that calls in here.

The path of a signal: `raise_signal` asks the registry for the signal's target and the roster for the members it means,
and sends each its delivery. A member answers `Begun` and `Ended`; in between the seat says what is on its way and what
runs. A timer's tick is a signal that also remembers its timer, which is told when the tick's runs have begun and ended,
so that late ticks follow the timer's policy.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import trio

from trio_uwsgi._core.declarations import stand_in
from trio_uwsgi._core.registry import Registry, check_signum
from trio_uwsgi._core.seats import Delivery, Seat, SeatState, Tick
from trio_uwsgi._core.timer import Timer
from trio_uwsgi._core.timer_rules import rule_from_values
from trio_uwsgi._wire.frames import (
    AddTimer,
    Alarm,
    Begun,
    CancelTimer,
    Closed,
    Deliver,
    Ended,
    Forget,
    Frame,
    Leave,
    Lock,
    Post,
    Raise,
    Ready,
    Register,
    Stop,
    Unlock,
)
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._core.roster import Roster
    from trio_uwsgi._tasks.alarms import Alarms
    from trio_uwsgi._tasks.journal import Journal
    from trio_uwsgi._tasks.link import Link
    from trio_uwsgi._tasks.remote_locks import LockKeeper
    from trio_uwsgi._tasks.sources import Ticker

__all__ = ["Master", "MessageStatistics", "SignalStatistics"]

logger = logging.getLogger("trio_uwsgi")


@dataclasses.dataclass(frozen=True, slots=True)
class SignalStatistics:
    """What became of the signals of a runtime; every one that was raised is in exactly one of the first three counters.

    `undelivered` were accepted and not run, because the runtime stopped or because no member was there to run them.
    `lost` are those of the `delivered` whose member died before it had run them.
    """

    raised: int
    refused: int
    unregistered: int
    delivered: int
    undelivered: int
    lost: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class MessageStatistics:
    """What became of the messages to mules; every one that was sent is in exactly one of the first two counters.

    `delivered` were given to user code, `redelivered` for a second time, because the mule died that handled them;
    `lost` are those that killed their mule twice. `undelivered` were accepted and not handled before the runtime ended.
    """

    queued: int
    refused: int
    delivered: int
    redelivered: int
    lost: int
    undelivered: int


class Master:
    """The routing of one runtime.

    Args:
        registry: what the application declared.
        roster: who there is.
        ticker: the timers.
        journal: where it says what happened.
    """

    def __init__(self, registry: Registry, roster: Roster, ticker: Ticker, journal: Journal) -> None:
        self.registry = registry
        self.roster = roster
        self.ticker = ticker
        self.journal = journal
        self.seat = Seat("master", 0)  # of the code that runs for no member: an application's lifespan
        self.all_ready = trio.Event()
        self._links: dict[str, Link] = {}
        # The schedule holds a timer as long as it has ticks to come.
        self._member_timers: WeakValueDictionary[tuple[str, int], Timer] = WeakValueDictionary()
        self._stopping: set[str] = set()
        self._raised = self._refused = self._unregistered = self._delivered = self._undelivered = self._lost = 0
        self._messages = dict.fromkeys((field.name for field in dataclasses.fields(MessageStatistics)), 0)
        self._closed: dict[str, trio.Event] = {}
        self.alarms: Alarms
        self.locks: LockKeeper | None = None  # where members are processes
        ticker.raise_tick = self.raise_tick

    def statistics(self) -> SignalStatistics:
        """The counters of signals, as they are now."""
        return SignalStatistics(
            self._raised, self._refused, self._unregistered, self._delivered, self._undelivered, self._lost
        )

    def message_statistics(self) -> MessageStatistics:
        """The counters of messages, as they are now."""
        return MessageStatistics(**self._messages)

    # ----- members

    def attach(self, seat: Seat, link: Link) -> None:
        """A member takes its seat. It is given what waits when it says it is ready."""
        self._links[seat.name] = link
        self._closed[seat.name] = trio.Event()
        seat.state = SeatState.STARTING

    def detach(self, seat: Seat) -> None:
        """The member left its seat; nobody can be reached there, and what is given to it waits."""
        del self._links[seat.name]
        self._closed[seat.name].set()
        if self.locks is not None:
            self.locks.forget_member(seat.name)
        if seat.state is SeatState.READY:
            seat.state = SeatState.STARTING

    def bury(self, seat: Seat, reason: str, pause: float | None) -> None:
        """The member died, and the next one comes after a pause, or never: deal with what it ran, and say so."""
        remains = self.roster.bury(seat, rests=pause != 0)
        self.journal.note(seat.name, "died")
        again = "not started again" if pause is None else f"started again in {pause:g} s"
        logger.error("%s died (%s); it is %s", seat.name, reason, again)
        if remains.lost:
            self._lost += len(remains.lost)
            logger.error("%s died with signals that it ran: %s are lost", seat.name, _signals(remains.lost))
        for delivery in remains.lost:
            self._tick_ended(delivery)
        for delivery in remains.again:
            logger.warning("%s: the message of %d bytes that it handled is given again", seat.name, _size(delivery))
        for delivery in remains.dropped:
            self._messages["lost"] += 1
            logger.error(
                "%s: a message of %d bytes was dropped: %d mules died while they handled it",
                *(seat.name, _size(delivery), delivery.deaths),
            )
        self._send_ready(remains.moved)

    def retire(self, seat: Seat) -> None:
        """The seat ended for good: what nobody had begun is counted and reported."""
        left = self.roster.retire(seat)
        for delivery in [*left, *seat.running.values()]:
            self._tick_ended(delivery)
        seat.running.clear()
        signals = [delivery for delivery in left if delivery.signum is not None]
        self._undelivered += len(signals)
        if signals:
            logger.warning("%s ended with %d signals not run: %s", seat.name, len(signals), _signals(signals))
        if messages := len(left) - len(signals):
            self._messages["undelivered"] += messages
            logger.warning("%s ended with %d messages not handled", seat.name, messages)

    async def wait_closed(self, seat: Seat) -> None:
        """Wait until the member on this seat accepts no more connections, or is gone."""
        if (closed := self._closed.get(seat.name)) is not None:
            await closed.wait()

    def send(self, name: str, frame: Frame) -> None:
        """Send a frame to the member of this name, if it is there."""
        if (link := self._links.get(name)) is not None:
            link.send(frame)

    def stop(self, seat: Seat) -> None:
        """Tell a member to end what it runs and what waits, and then itself: now, or when it has been given that."""
        self._stopping.add(seat.name)
        if seat.state is SeatState.READY:
            self._links[seat.name].send(Stop())

    def is_stopping(self, seat: Seat) -> bool:
        """Was the member on this seat, or the one that comes next, told to stop?"""
        return seat.name in self._stopping

    def let_go(self, seat: Seat) -> bool:
        """Let a member that has nothing to do leave. False: it has, or its seat is not to be vacant."""
        if not self.roster.vacate(seat):
            return False
        self.journal.note(seat.name, "left")
        self._links[seat.name].send(Stop())
        return True

    def obey(self, seat: Seat, frame: Frame) -> None:
        """Do what a member asks. Raises what `raise_signal` and `post` raise, for those two."""
        # Most frames are one of these three, and a `match` takes three times as long to find out.
        if isinstance(frame, Begun):
            self._begun(seat, frame.ticket)
            return
        if isinstance(frame, Ended):
            self._ended(seat, frame.ticket)
            return
        if isinstance(frame, Raise):
            self.raise_signal(frame.signum, seat.name)
            return
        match frame:
            case Post(mule, message):
                self.post(message, mule, seat.name)
            case AddTimer(ident, signum, rule, late, overlap):
                timer = Timer(signum, rule_from_values(rule), late=late, overlap=overlap)
                self._member_timers[seat.name, ident] = timer
                self.ticker.add(timer)
            case CancelTimer(ident):
                if (known := self._member_timers.pop((seat.name, ident), None)) is not None:
                    self.ticker.cancel(known)
            case Alarm(name, message):
                self.alarms.ring(name, message)
            case Leave():
                self.let_go(seat)
            case Closed():
                self._closed[seat.name].set()
            case Register(signum, target):
                self.registry.register_signal(signum, target, stand_in)
            case Lock(number, ident) if self.locks is not None:
                self.locks.lock(seat.name, number, ident)
            case Unlock(number, ident) if self.locks is not None:
                self.locks.unlock(seat.name, number, ident)
            case Forget(number, ident) if self.locks is not None:
                self.locks.forget(seat.name, number, ident)
            case Ready():
                self._ready(seat)
            case _:
                raise TypeError(f"{seat.name} sent {frame!r}, which is not for the master")

    def _ready(self, seat: Seat) -> None:
        self.roster.ready(seat)
        if all(other.state in (SeatState.READY, SeatState.VACANT) for other in self.roster.seats()):
            self.all_ready.set()
        for delivery in seat.waiting():
            self._send(seat, delivery)
        if seat.name in self._stopping:
            self._links[seat.name].send(Stop())

    # ----- signals and messages

    def raise_signal(self, signum: int, origin: str) -> None:
        """Route a signal to the members its target means.

        Raises:
            RegistrationError: `signum` is not 0 to 255.
            SignalQueueFull: a recipient's queue is full; nobody was given the signal.
        """
        check_signum(signum)
        self._route(signum, origin, None)

    def raise_tick(self, timer: Timer) -> None:
        """Raise a timer's signal. A tick that reaches nobody (a full queue, no member) is lost, and said so; the timer
        goes on.
        """
        try:
            reached = self._route(timer.signum, "timer", Tick(timer))
        except SignalQueueFull as error:
            logger.error("a tick was lost: %s", error)
            reached = False
        if not reached:
            self.ticker.ended(timer, began=False)

    def _route(self, signum: int, origin: str, tick: Tick | None) -> bool:
        signal = self.registry.signals.get(signum)
        if signal is None:
            self._unregistered += 1
            self.journal.note(self.seat.name, f"signal {signum} unregistered")
            logger.warning("signal %d was raised by %s, but nothing is registered for it", signum, origin)
            return False
        try:
            given = self.roster.give_signal(signum, signal.target, origin, tick)
        except SignalQueueFull:
            self._refused += 1
            raise
        self._raised += 1
        if not given:
            self._undelivered += 1
            logger.warning(
                "signal %d of %s went to nobody: no member of %r is there", signum, origin, signal.target.text
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
            given = self.roster.give_message(message, mule, origin)
        except (MuleError, MessageQueueFull):
            self._messages["refused"] += 1
            raise
        self._messages["queued"] += 1
        self._send_ready([given])

    def _send_ready(self, given: Iterable[tuple[Seat, Delivery]]) -> None:
        """Send what was given to those who are ready; the others get it when they are."""
        for seat, delivery in given:
            if seat.state is SeatState.READY:
                self._send(seat, delivery)

    def _send(self, seat: Seat, delivery: Delivery) -> None:
        message = delivery.message or b""
        frame = Deliver(delivery.ticket, delivery.signum, message, delivery.farm, redelivered=bool(delivery.deaths))
        self._links[seat.name].send(frame)

    def _begun(self, seat: Seat, ticket: int) -> None:
        delivery = self.roster.begun(seat, ticket)
        if delivery.signum is not None:
            self._delivered += 1
        else:
            self._messages["redelivered" if delivery.deaths else "delivered"] += 1
        if (tick := delivery.tick) is not None and not tick.begun:
            tick.begun = True
            self.ticker.begun(tick.timer)

    def _ended(self, seat: Seat, ticket: int) -> None:
        self._tick_ended(self.roster.ended(seat, ticket))

    def _tick_ended(self, delivery: Delivery) -> None:
        if (tick := delivery.tick) is not None:
            tick.unfinished -= 1
            if not tick.unfinished:
                self.ticker.ended(tick.timer, began=tick.begun)

    async def run(self) -> None:
        """Let time pass: raise what is due. Runs until cancelled."""
        await self.ticker.run()


def as_message(message: bytes | str) -> bytes:
    """A mule message as it travels.

    Raises:
        TypeError: it is neither bytes nor a str.
    """
    if isinstance(message, str):
        return message.encode()
    if not isinstance(message, bytes | bytearray | memoryview):
        raise TypeError(
            f"a mule message is bytes or str, not {type(message).__name__}; encode it first, as with json.dumps"
        )
    return bytes(message)


def as_recipient(mule: int | str | bytes) -> int | str:
    """Whom a message is for: the number of a mule, or the name of a farm.

    Raises:
        MuleError: it cannot be either.
    """
    return mule if type(mule) is int else as_farm(mule)  # type: ignore[arg-type]  # what else it is, is refused


def as_farm(name: str | bytes) -> str:
    """The name of a farm, which may come as bytes from code that was written for uWSGI.

    Raises:
        MuleError: it is no name.
    """
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if not isinstance(name, str) or not name:
        raise MuleError(f"{name!r} is no mule and no farm; use a mule's number, 0 for any, or the name of a farm")
    return name


def _size(delivery: Delivery) -> int:
    return len(delivery.message or b"")


def _signals(deliveries: list[Delivery]) -> str:
    return ", ".join(str(d.signum) for d in deliveries[:10]) + (", ..." if len(deliveries) > 10 else "")
