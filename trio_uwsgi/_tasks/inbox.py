"""A member's side of deliveries: runs what the master gave it. Floor 2.

Signals are run one at a time, in the order they were given; messages likewise, beside them. Each run is a unit of work
of its own. What waits for a signal (`signal_wait`) or a message (`mule_get_msg`) is woken from here, first come first
served, by a hand-over: two tasks that wait never race for one delivery.

Who gets a message: a program that has called `mule_get_msg` gets all of them, waiting or not; otherwise the registered
handlers do; a mule with neither says in the log what it dropped.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from trio_uwsgi._tasks.calls import SharedScope
from trio_uwsgi._wire.frames import Begun, Deliver, Ended, Frame, Stop

if TYPE_CHECKING:
    from trio_uwsgi._core.registry import Signal
    from trio_uwsgi._tasks.calls import Calls
    from trio_uwsgi._tasks.unit import Member

__all__ = ["Inbox"]

logger = logging.getLogger("trio_uwsgi")
T = TypeVar("T")

# Handlers run before others get their turn: a burst of those that never wait must not keep Trio for itself. Counted and
# not timed, so that two runs of a story go the same way.
TURN = 4


class Inbox:
    """What one member has been given and has not begun.

    Bounded by the master's seat: it holds no more than `signal_queue` signals and `message_queue` messages.
    """

    def __init__(self, member: Member, calls: Calls) -> None:
        self._member = member
        self._calls = calls
        self._signals: deque[Deliver] = deque()
        self._messages: deque[Deliver] = deque()
        self._signal_arrived = trio.Event()
        self._message_arrived = trio.Event()
        self._signal_waiters: list[tuple[int | None, Task]] = []
        self._message_waiters: deque[Task] = deque()
        self._running: Deliver  # the signal whose handler runs, or ran last
        self._held: int | None = None  # ticket of the message that the program works on
        self._finishing = False
        self.between_jobs: trio.Lock | None = None  # of a spooler: `def` handlers do not run beside a job
        self.programmed = False  # a program runs, and may begin to read messages at any time
        self.program_reads = False
        self.stopping = trio.Event()

    def obey(self, frame: Frame) -> None:
        """Take a frame from the master."""
        if isinstance(frame, Stop):
            self.stopping.set()
        elif not isinstance(frame, Deliver):
            raise TypeError(f"the master sent {frame!r}, which is not for a member")
        elif frame.signum is not None:
            self._signals.append(frame)
            self._signal_arrived.set()
        elif self._message_waiters:
            reschedule(self._message_waiters.popleft(), outcome.Value(frame))
        else:
            self._messages.append(frame)
            self._message_arrived.set()

    def give_back_messages(self) -> None:
        """The program has ended: from now on the handlers get the messages."""
        self.programmed = self.program_reads = False
        self._message_arrived.set()

    def finish(self) -> None:
        """Nothing more will be raised here: let the loops end when nothing waits."""
        self._finishing = True
        self._signal_arrived.set()
        self._message_arrived.set()

    # ----- signals

    async def serve_signals(self) -> None:
        """Run the handlers of the signals as they come; returns after `finish`, when none waits."""
        while self._signals or not self._finishing:
            shared = SharedScope()
            with shared.scope:
                await self._run_signals(shared)
            if shared.scope.cancelled_caught:
                self._calls.expired(shared.unit, shared.unit.where)
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
            if usable and signals and ran % TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _run_signal(self, shared: SharedScope, signal: Signal) -> bool:
        signum = signal.signum
        if self._member.journal.remembers:
            self._member.journal.note(self._member.name, f"signal {signum}")
        if signal.is_async:
            await self._calls.run_under(shared, "signal", str(signum), signal.handler, signum)
            return not shared.scope.cancel_called
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
        return cast("int", await _parked(lambda: self._signal_waiters.remove(waiter)))

    # ----- messages

    async def serve_messages(self) -> None:
        """Give messages to the registered handlers; returns after `finish`, when none waits for them."""
        handlers = self._member.registry.message_handlers
        await trio.lowlevel.checkpoint()  # a program that begins with `mule_get_msg` gets what came before it, too
        while True:
            mine = not self.program_reads and (handlers or not self.programmed)
            if mine and self._messages:
                delivery = self._messages.popleft()
                self._member.link.send(Begun(delivery.ticket))
                await self._run_message(delivery.message)
                self._member.link.send(Ended(delivery.ticket))
                if self._messages:
                    await trio.lowlevel.checkpoint()
            elif self._finishing:
                return
            else:
                self._message_arrived = trio.Event()
                await self._message_arrived.wait()

    async def _run_message(self, message: bytes) -> None:
        self._member.journal.note(self._member.name, f"message {len(message)} bytes")
        if not self._member.registry.message_handlers:
            logger.warning(
                "%s: a message of %d bytes was dropped: nothing handles messages; use @uwsgi.mule_message_handler",
                self._member.name,
                len(message),
            )
        for handler in list(self._member.registry.message_handlers):
            await self._calls.run("message", "", handler, message)

    async def get_message(self, timeout: float) -> bytes | None:
        """The next message for the mule's program; None after `timeout` seconds. A cancelled wait loses no message."""
        self.program_reads = True
        self.release_message()
        await trio.lowlevel.checkpoint()
        if self._messages:
            delivery = self._messages.popleft()
        else:
            task = current_task()
            self._message_waiters.append(task)
            with trio.move_on_after(timeout) as scope:
                delivery = cast("Deliver", await _parked(lambda: self._message_waiters.remove(task)))
            if scope.cancelled_caught:
                return None
        self.release_message()  # several tasks of one program may read: what another of them got meanwhile is done, too
        self._held = delivery.ticket
        self._member.link.send(Begun(delivery.ticket))
        return delivery.message

    def release_message(self) -> None:
        """The program is done with the message it got last: it asked for the next one, or it ended."""
        if self._held is not None:
            held, self._held = self._held, None
            self._member.link.send(Ended(held))


async def _parked(forget: Callable[[], None]) -> object:
    """Park until rescheduled with a value; a cancelled wait is forgotten by its queue first, so nothing is handed to
    it.
    """

    def abort(_: RaiseCancelT) -> Abort:
        forget()
        return Abort.SUCCEEDED

    return await wait_task_rescheduled(abort)
