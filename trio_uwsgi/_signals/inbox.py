"""A member's side of deliveries: queues signals and messages from the master and runs their handlers.

Signal handlers run one at a time, in the order of delivery; message handlers likewise, concurrently with them
(`messages.py`). Each run is its own unit of work. Tasks in `signal_wait` are woken from here.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, cast

import outcome
import trio
from trio.lowlevel import Task, current_task, reschedule

from trio_uwsgi._link.frames import Begun, Deliver, Drain, Drained, Ended, Frame, Pause, Stop, StopRequested, TakeOver
from trio_uwsgi._signals.messages import Messages, wait_rescheduled
from trio_uwsgi._units.calls import SharedScope
from trio_uwsgi._units.leftovers import in_own_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._signals.handlers import Signal
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.member import Member

__all__ = ["Inbox"]

logger = logging.getLogger("trio_uwsgi")

# Handlers that run before other tasks get their turn, so that a burst of handlers that never wait does not block Trio.
# Counted, not timed, so that tests are deterministic.
HANDLERS_PER_TURN = 4


class Inbox:
    """The signals and messages that one member has received and not begun.

    Bounded by the master, which sends at most `signal_queue` signals and `message_queue` messages.
    """

    def __init__(self, member: Member, calls: Calls) -> None:
        self._member = member
        self._calls = calls
        self._signals: deque[Deliver] = deque()
        self._signal_arrived = trio.Event()
        self._signal_waiters: list[tuple[int | None, Task]] = []
        self._running: Deliver  # the signal whose handler runs or ran last
        self.handling: int | None = None  # its number, while it runs
        self.signals_handled = 0
        self._finishing = False
        self.between_jobs: trio.Lock | None = None  # of a spooler: `def` handlers do not run beside a job
        self.messages = Messages(member, calls)
        self.stopping = trio.Event()
        self.stop_announced = trio.Event()  # set with `stopping`, or before, when the runtime was asked to stop
        self.stop_requested_at = math.inf  # when the first `Stop` or `Drain` arrived
        self._mercy: float | None = None  # seconds from then on, if they are not the option's
        self.holds_slot = trio.Event()  # set, except in a replacement that has not taken over the slot yet
        self.holds_slot.set()
        self.draining = False  # a replacement takes over the slot, and what waits here
        self.patient = False  # other members keep serving when this one ends
        self.on_pause: Callable[[bool], None] = _ignore_pause

    @property
    def stops(self) -> bool:
        """Was this member asked to stop, or the runtime? In processes also before the event loop has read it."""
        heartbeat = self._member.heartbeat
        return self.stop_announced.is_set() or (heartbeat is not None and heartbeat.is_stopping)

    def deadline(self, leeway: float) -> float:
        """When the mercy of a stop is over, less the leeway; never more than half of it."""
        mercy = self._member.services.mercy if self._mercy is None else self._mercy
        return self.stop_requested_at + max(mercy - leeway, mercy / 2)

    def wait_for_slot(self) -> None:
        """This member is a replacement: begin nothing before the master sends `TakeOver`."""
        self.messages.holds_slot = self.holds_slot = trio.Event()

    def obey(self, frame: Frame) -> None:
        """Take a frame from the master."""
        if isinstance(frame, Stop | Drain | StopRequested):
            self.stop_announced.set()
        if isinstance(frame, Stop | Drain):
            self.stop_requested_at = min(self.stop_requested_at, trio.current_time())
        if isinstance(frame, Stop):
            self._mercy = frame.mercy
            self.patient = frame.patient
            self.stopping.set()
        elif isinstance(frame, Pause):
            self.on_pause(frame.paused)
        elif isinstance(frame, Drain):
            self.draining = self.patient = True
            self._signals.clear()
            self.messages.drop()
            self.stopping.set()
            if self._member.kind != "mule":  # a mule's program may read messages until it ends
                self.drain()
        elif isinstance(frame, TakeOver):
            self.holds_slot.set()
        elif isinstance(frame, StopRequested):
            pass
        elif not isinstance(frame, Deliver):
            raise TypeError(f"the master sent {frame!r}, which is not for a member")
        elif frame.signum is not None:
            self._signals.append(frame)
            self._signal_arrived.set()
        else:
            self.messages.put(frame)

    def drain(self) -> None:
        """If this member is being replaced, report that it begins nothing more, so that the replacement may begin."""
        if self.draining:
            self._member.link.send(Drained())

    def finish(self) -> None:
        """No more signals will arrive: end the loops when none waits."""
        self._finishing = True
        self._signal_arrived.set()
        self.messages.finish()

    # ----- signals

    async def serve_signals(self) -> None:
        """Run the handlers of signals as they arrive; returns after `finish`, when no signal waits."""
        while self._signals or not self._finishing:
            await in_own_task(self._serve_in_one_task, "signals")

    async def _serve_in_one_task(self) -> None:
        """The same, until a handler has left a scope open in the task."""
        left_open = False
        while (self._signals or not self._finishing) and not left_open:
            shared = SharedScope()
            with shared.opened():
                await self._run_signals(shared)
            left_open = shared.left_open
            if self._calls.block_ended(shared) is not None:
                self._signal_ended()

    async def _run_signals(self, shared: SharedScope) -> None:
        """Run handlers until the scope is not usable any more, or, after `finish`, until no signal waits."""
        signals = self._signals
        send = self._member.link.send
        usable = True
        ran = 0
        while usable and (signals or not self._finishing):
            if not signals:
                self._signal_arrived = trio.Event()
                await self._signal_arrived.wait()
                continue
            self._running = delivery = signals.popleft()
            assert delivery.signum is not None
            send(Begun(delivery.ticket))
            signal = self._member.registry.signals.get(delivery.signum)
            if signal is not None:
                self._set_handling(delivery.signum)
                usable = await self._run_signal(shared, signal)
                self._signal_ended()
            else:  # it was registered in another process only; uWSGI logs "error managing signal"
                name = self._member.name
                logger.error(
                    "%s: signal %d has no handler here; register it before serving starts", name, delivery.signum
                )
                send(Ended(delivery.ticket))
            ran += 1
            if usable and signals and ran % HANDLERS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _run_signal(self, shared: SharedScope, signal: Signal) -> bool:
        signum = signal.signum
        if self._member.journal.remembers:
            self._member.journal.note(self._member.name, f"signal {signum}")
        if signal.is_async:
            await self._calls.run_under(shared, "signal", str(signum), signal.handler, signum)
            return shared.usable
        async with self.between_jobs or contextlib.nullcontext():
            await self._calls.run("signal", str(signum), signal.handler, signum)
        return True

    def _set_handling(self, signum: int | None) -> None:
        self.handling = signum
        if (heartbeat := self._member.heartbeat) is not None:
            heartbeat.set_signal(signum)

    def _signal_ended(self) -> None:
        delivery = self._running
        signum = delivery.signum
        self._set_handling(None)
        self.signals_handled += 1
        for waiter in [waiter for waiter in self._signal_waiters if waiter[0] in (None, signum)]:
            self._signal_waiters.remove(waiter)
            reschedule(waiter[1], outcome.Value(signum))
        self._member.link.send(Ended(delivery.ticket))

    async def wait_signal(self, signum: int | None) -> int:
        """Wait until this member has run a handler, of `signum` or of any signal. Safe to cancel."""
        waiter = (signum, current_task())
        self._signal_waiters.append(waiter)
        return cast("int", await wait_rescheduled(lambda: self._signal_waiters.remove(waiter)))


def _ignore_pause(paused: bool) -> None:
    """`Inbox.on_pause` of members that serve no clients: do nothing."""
