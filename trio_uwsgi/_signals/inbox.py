"""A member's side of deliveries: runs what the master gave it.

Signals are run one at a time, in the order they were given; messages likewise, beside them (`messages.py`). Each run is
a unit of work of its own. What waits for a signal (`signal_wait`) is woken from here.
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

from trio_uwsgi._link.frames import Begun, Deliver, Drain, Drained, Ended, Frame, Pause, Stop, TakeOver
from trio_uwsgi._signals.messages import Messages, wait_rescheduled
from trio_uwsgi._units.calls import SharedScope
from trio_uwsgi._units.leftovers import in_own_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._runtime.registry import Signal
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.unit import Member

__all__ = ["Inbox"]

logger = logging.getLogger("trio_uwsgi")

# Handlers run before others get their turn: a burst of those that never wait must not keep Trio for itself. Counted and
# not timed, so that two runs of a story go the same way.
HANDLERS_PER_TURN = 4


class Inbox:
    """What one member has been given and has not begun.

    Bounded by the master's seat: it holds no more than `signal_queue` signals, and `messages` no more than
    `message_queue`.
    """

    def __init__(self, member: Member, calls: Calls) -> None:
        self._member = member
        self._calls = calls
        self._signals: deque[Deliver] = deque()
        self._signal_arrived = trio.Event()
        self._signal_waiters: list[tuple[int | None, Task]] = []
        self._running: Deliver  # the signal whose handler runs, or ran last
        self._finishing = False
        self.between_jobs: trio.Lock | None = None  # of a spooler: `def` handlers do not run beside a job
        self.messages = Messages(member, calls)
        self.stopping = trio.Event()
        self.stop_requested_at = math.inf  # when it was first told to stop
        self.holds_slot = trio.Event()  # at once, but for one who draining another one
        self.holds_slot.set()
        self.draining = False  # another one draining this one: what waits here is for that
        self.patient = False  # others serve on when this one ends
        self.on_pause: Callable[[bool], None] = _ignore_pause

    def wait_for_slot(self) -> None:
        """Another one has the seat: wait until the master says otherwise."""
        self.messages.holds_slot = self.holds_slot = trio.Event()

    def obey(self, frame: Frame) -> None:
        """Take a frame from the master."""
        if isinstance(frame, Stop | Drain):
            self.stop_requested_at = min(self.stop_requested_at, trio.current_time())
        if isinstance(frame, Stop):
            self.patient = frame.patient
            self.stopping.set()
        elif isinstance(frame, Pause):
            self.on_pause(frame.paused)
        elif isinstance(frame, Drain):
            self.draining = self.patient = True
            self._signals.clear()
            self.messages.drop()
            self.stopping.set()
            if self._member.kind != "mule":  # a mule's program may read messages until it has ended
                self.drain()
        elif isinstance(frame, TakeOver):
            self.holds_slot.set()
        elif not isinstance(frame, Deliver):
            raise TypeError(f"the master sent {frame!r}, which is not for a member")
        elif frame.signum is not None:
            self._signals.append(frame)
            self._signal_arrived.set()
        else:
            self.messages.put(frame)

    def drain(self) -> None:
        """Nothing is begun here any more, should another one follow: that can begin."""
        if self.draining:
            self._member.link.send(Drained())

    def finish(self) -> None:
        """Nothing more will be raised here: let the loops end when nothing waits."""
        self._finishing = True
        self._signal_arrived.set()
        self.messages.finish()

    # ----- signals

    async def serve_signals(self) -> None:
        """Run the handlers of the signals as they come; returns after `finish`, when none waits."""
        while self._signals or not self._finishing:
            await in_own_task(self._serve_in_one_task, "signals")

    async def _serve_in_one_task(self) -> None:
        """The same, until a handler has left something open in the task."""
        left_open = False
        while (self._signals or not self._finishing) and not left_open:
            shared = SharedScope()
            with shared.opened():
                await self._run_signals(shared)
            left_open = shared.left_open
            if self._calls.block_ended(shared) is not None:
                self._signal_ended()

    async def _run_signals(self, shared: SharedScope) -> None:
        """Run handlers until the scope cannot be used for another one; or, after `finish`, until no signal waits."""
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
                usable = await self._run_signal(shared, signal)
                self._signal_ended()
            else:  # registered in another process only: uWSGI's "error managing signal"
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

    def _signal_ended(self) -> None:
        delivery = self._running
        signum = delivery.signum
        for waiter in [waiter for waiter in self._signal_waiters if waiter[0] in (None, signum)]:
            self._signal_waiters.remove(waiter)
            reschedule(waiter[1], outcome.Value(signum))
        self._member.link.send(Ended(delivery.ticket))

    async def wait_signal(self, signum: int | None) -> int:
        """Wait until this member has run a handler, of `signum` or of any signal. A cancelled wait leaves nothing."""
        waiter = (signum, current_task())
        self._signal_waiters.append(waiter)
        return cast("int", await wait_rescheduled(lambda: self._signal_waiters.remove(waiter)))


def _ignore_pause(paused: bool) -> None:
    """Of members that serve no clients."""
