"""The master: routes signals and messages, keeps the timers, watches the members come and go.

Theory. Everything the master decides it decides in plain functions that never wait: a frame of a member is obeyed to
the end before the next one is looked at, so there is one order of events and no lock. What must wait (a timer's due
time, a member's life) is a task in `ticker.py` or `placement.py` that calls in here.

The path of a signal: `raise_signal` asks the registry for the signal's target and the roster for the members it means,
and sends each its delivery. A member answers `Begun` and `Ended`; in between the seat says what is on its way and what
runs. A timer's tick is a signal that also remembers its timer, which is told when the tick's runs have begun and ended,
so that late ticks follow the timer's policy.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import (
    AddTimer,
    Alarm,
    Begun,
    CancelTimer,
    Closed,
    Deliver,
    Ended,
    Forget,
    Frame,
    HandedOver,
    HandOver,
    Leave,
    Lock,
    Pause,
    Post,
    Raise,
    Ready,
    Register,
    Relieve,
    Reload,
    Seated,
    Stop,
    Unlock,
)
from trio_uwsgi._runtime.declarations_in_force import Declarations
from trio_uwsgi._runtime.member_run import Tenure
from trio_uwsgi._runtime.placement import Died
from trio_uwsgi._runtime.registry import check_signum
from trio_uwsgi._runtime.slots import Delivery, Remains, Seat, SeatState, Tick, signal_numbers
from trio_uwsgi._runtime.statistics import MessageStatistics, SignalStatistics
from trio_uwsgi.errors import MessageQueueFull, MuleError, SignalQueueFull

if TYPE_CHECKING:
    from trio_uwsgi._alarms.alarms import Alarms
    from trio_uwsgi._link.link import Link
    from trio_uwsgi._locks.remote import LockKeeper
    from trio_uwsgi._runtime.dispatcher import Roster
    from trio_uwsgi._runtime.placement import Ending
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._signals.ticker import Ticker
    from trio_uwsgi._signals.timer import Timer
    from trio_uwsgi._units.journal import Journal

__all__ = ["Master"]

logger = logging.getLogger("trio_uwsgi")


class Master:
    """The routing of one runtime.

    Args:
        registry: what the application declared.
        roster: who there is.
        ticker: the timers.
        journal: where it says what happened.
    """

    def __init__(self, registry: Registry, roster: Roster, ticker: Ticker, journal: Journal) -> None:
        self.declared = Declarations(registry, ticker)
        self.roster = roster
        self.ticker = ticker
        self.journal = journal
        self.tenure = Tenure(Seat("master", 0))  # of the code that runs for no member: an application's lifespan
        self.all_ready = trio.Event()
        self.on_relieve: Callable[[Tenure, str], None] = _ignore
        self.on_reload: Callable[[], None] = _ignore
        self._tenures: dict[str, Tenure] = {}  # of members that are there, by name
        self._holders: dict[str, Tenure] = {}  # those of them that have their seat, by its name
        self._stopping: dict[str, Stop] = {}  # what the members of these seats are told
        self.paused = False
        self._raised = self._refused = self._unregistered = self._delivered = self._undelivered = self._lost = 0
        self._messages = dict.fromkeys((field.name for field in dataclasses.fields(MessageStatistics)), 0)
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

    def attach(self, tenure: Tenure, link: Link) -> None:
        """A member is there. One that has its seat is given what waits when it says it is ready."""
        tenure.link = link
        self._tenures[tenure.name] = tenure
        if self.paused:
            link.send(Pause(True))
        if tenure.seated:
            self._take_seat(tenure)

    def _take_seat(self, tenure: Tenure) -> None:
        self._holders[tenure.seat.name] = tenure
        tenure.seat.state = SeatState.STARTING
        if tenure.heir:
            tenure.link.send(Seated())
            for frame in tenure.held:
                self.obey(tenure, frame)
        if tenure.ready:
            self._serve(tenure)

    def detach(self, tenure: Tenure) -> None:
        """The member is gone. Nobody can be reached on its seat, if it had that, and what is given to it waits."""
        del self._tenures[tenure.name]
        tenure.closed.set()
        if self.locks is not None:
            self.locks.forget_member(tenure.name)
        if self._holders.get(tenure.seat.name) is tenure:
            del self._holders[tenure.seat.name]
            if tenure.seat.state is SeatState.READY:
                tenure.seat.state = SeatState.STARTING

    # ----- one who follows another one, without a gap: see `supervisor.py`

    def hand_over(self, seat: Seat) -> None:
        """Let the member that has this seat give way. Nothing is sent to it from now on; it says when it has."""
        seat.state = SeatState.STARTING
        if seat.name in self._holders:  # else it has just died, which the supervisor will see
            self._holders[seat.name].link.send(HandOver())

    def _gave_way(self, tenure: Tenure) -> None:
        self.roster.hand_over(tenure.seat)
        del self._holders[tenure.seat.name]
        tenure.gave_way = True
        tenure.on_change()

    def inherit(self, tenure: Tenure) -> None:
        """A member gets the seat that it came for; nobody has it."""
        tenure.seated = True
        if tenure.name in self._tenures:
            self._take_seat(tenure)

    def left(self, tenure: Tenure, ending: Ending) -> None:
        """One who gave way has ended, well or not. That is neither a death nor the end of the seat."""
        self.journal.note(tenure.seat.name, "followed")
        if isinstance(ending, Died):
            logger.error("%s, which was to leave, died: %s", tenure.seat.name, ending.reason)
        remains = self.roster.left(tenure.seat)
        self._report(tenure.seat, remains)
        self._send_ready((tenure.seat, delivery) for delivery in remains.again)

    def adopt(self, registry: Registry, headcount: Headcount) -> None:
        """Go by the declarations of new code from now on; see `Declarations.adopt`."""
        self.declared.adopt(registry, headcount, self._tenures.values())

    # ----- deaths, and the end

    def bury(self, seat: Seat, reason: str, pause: float | None) -> None:
        """The member died, and the next one comes after a pause, or never: deal with what it ran, and say so."""
        remains = self.roster.bury(seat, rests=pause != 0)
        self.journal.note(seat.name, "died")
        again = "not started again" if pause is None else f"started again {f'in {pause:g} s' if pause else 'at once'}"
        logger.error("%s died (%s); it is %s", seat.name, reason, again)
        self._report(seat, remains)
        self._send_ready(remains.moved)

    def _report(self, seat: Seat, remains: Remains) -> None:
        if remains.lost:
            self._lost += len(remains.lost)
            logger.error("%s died with signals that it ran: %s are lost", seat.name, signal_numbers(remains.lost))
        for delivery in remains.lost:
            self._tick_ended(delivery)
        for delivery in remains.again:
            logger.warning("%s: the message of %d bytes that it handled is given again", seat.name, delivery.size)
        for delivery in remains.dropped:
            self._messages["lost"] += 1
            logger.error(
                "%s: a message of %d bytes was dropped: %d mules died while they handled it",
                *(seat.name, delivery.size, delivery.deaths),
            )

    def retire(self, seat: Seat) -> None:
        """The seat ended for good: what nobody had begun is counted and reported."""
        self._stopping.pop(seat.name, None)
        left = self.roster.retire(seat)
        for delivery in [*left, *seat.running.values()]:
            self._tick_ended(delivery)
        seat.running.clear()
        signals = [delivery for delivery in left if delivery.signum is not None]
        self._undelivered += len(signals)
        if signals:
            logger.warning("%s ended with %d signals not run: %s", seat.name, len(signals), signal_numbers(signals))
        if messages := len(left) - len(signals):
            self._messages["undelivered"] += messages
            logger.warning("%s ended with %d messages not handled", seat.name, messages)

    async def wait_closed(self, seat: Seat) -> None:
        """Wait until the members of this seat accept no more connections, or are gone."""
        for tenure in [tenure for tenure in self._tenures.values() if tenure.seat is seat]:
            await tenure.closed.wait()

    def send(self, name: str, frame: Frame) -> None:
        """Send a frame to the member of this name, if it is there."""
        if (tenure := self._tenures.get(name)) is not None:
            tenure.link.send(frame)

    def stop(self, seat: Seat, *, patient: bool = False) -> None:
        """Tell a member to end what it runs and what waits, and then itself: now, or when it has been given that."""
        self._stopping[seat.name] = stop = Stop(patient)
        if seat.state is SeatState.READY:
            self._holders[seat.name].link.send(stop)

    def is_stopping(self, seat: Seat) -> bool:
        """Was the member on this seat, or the one that comes next, told to stop?"""
        return seat.name in self._stopping

    def pause(self, paused: bool) -> None:
        """Let nobody accept connections, or let them again; also those who come meanwhile."""
        self.paused = paused
        for tenure in self._tenures.values():
            tenure.link.send(Pause(paused))

    def let_go(self, seat: Seat) -> bool:
        """Let a member that has nothing to do leave. False: it has, or its seat is not to be vacant."""
        if not self.roster.vacate(seat):
            return False
        self.journal.note(seat.name, "left")
        self._holders[seat.name].link.send(Stop())
        return True

    def obey(self, tenure: Tenure, frame: Frame) -> None:
        """Do what a member asks. Raises what `raise_signal` and `post` raise, for those two."""
        seat = tenure.seat
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
            case AddTimer() | CancelTimer() | Register():
                self.declared.obey(tenure, frame)
            case Alarm(name, message):
                self.alarms.ring(name, message)
            case Leave():
                if self._holders.get(seat.name) is tenure:
                    self.let_go(seat)
            case Closed():
                tenure.closed.set()
            case HandedOver():
                self._gave_way(tenure)
            case Relieve(reason):
                self.on_relieve(tenure, reason)
            case Reload():
                self.on_reload()
            case Lock() | Unlock() | Forget() if self.locks is not None:
                self.locks.obey(tenure.name, frame)
            case Ready():
                tenure.ready = True
                tenure.on_change()
                if tenure.seated:
                    self._serve(tenure)
            case _:
                raise TypeError(f"{seat.name} sent {frame!r}, which is not for the master")

    def _serve(self, tenure: Tenure) -> None:
        seat = tenure.seat
        self.roster.ready(seat)
        if all(other.state in (SeatState.READY, SeatState.VACANT) for other in self.roster.seats()):
            self.all_ready.set()
        for delivery in seat.waiting():
            self._send(seat, delivery)
        if seat.name in self._stopping:
            tenure.link.send(self._stopping[seat.name])

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
        signal = self.declared.registry.signals.get(signum)
        if signal is None:
            self._unregistered += 1
            self.journal.note(self.tenure.seat.name, f"signal {signum} unregistered")
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
        self._holders[seat.name].link.send(frame)

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


def _ignore(*asked: object) -> None:
    """Where nobody can follow."""
