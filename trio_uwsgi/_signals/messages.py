"""A mule's side of messages: which handler or program gets which message.

Theory. Messages wait in queues: one for those that were sent to the mule, and one for each of its farms. A *reader*
waits for messages: the loop of the registered handlers, the loop of a farm's function, a task of the mule's program in
`mule_get_msg` or `farm_get_msg`. A message is passed directly to the reader that has waited longest of those that
accept it, so readers do not race.

A program's thread takes a message that waits already itself (`take_in_thread`), so a lock protects the queues. All else
happens on Trio's thread.

A farm's function gets all messages of its farm. A program that has called `mule_get_msg` gets all other messages, also
those that wait already; one that has called `farm_get_msg` gets the messages of farms. The rest goes to the handlers. A
mule with neither program nor handler drops messages, and logs that.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from trio_uwsgi._link.frames import Begun, Deliver, Ended
from trio_uwsgi._signals.mule_functions import MuleMessage
from trio_uwsgi._units.unit import UNIT

if TYPE_CHECKING:
    from trio_uwsgi._signals.mule_functions import MessageHandler
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.member import Member

__all__ = ["Messages", "wait_rescheduled"]

logger = logging.getLogger("trio_uwsgi")

Wants = Callable[[str], bool]  # takes a farm's name, or "" for messages to the mule itself


class _Reader(NamedTuple):
    task: Task
    wants: Wants
    ends: bool  # does `finish` end the wait?


class Messages:
    """The messages that one member has received and not begun, and the readers that wait for messages."""

    def __init__(self, member: Member, calls: Calls) -> None:
        self._member = member
        self._calls = calls
        self._lock = threading.RLock()  # for the queues, and `_held`
        self._queues: dict[str, deque[tuple[int, Deliver]]] = {}
        self._arrived = 0
        self._readers: list[_Reader] = []
        self._held: int | None = None  # ticket of the message that the program is handling
        self.holds_slot = trio.Event()  # as in `Inbox`
        self.holds_slot.set()
        self._handed_over = 0  # messages passed to readers that have not run since
        self._finishing = False
        self.has_program = False  # a program runs, which may begin to read messages at any time
        self._program_reads = False
        self._program_reads_farms = False
        self.handlers_wait = False  # until the program reads a message or ends, or `begin_handlers`

    def put(self, frame: Deliver) -> None:
        """Take a message from the master."""
        for reader in self._readers:
            if reader.wants(frame.farm):
                self._hand_over(reader, frame)
                return
        self._arrived += 1
        with self._lock:
            self._queues.setdefault(frame.farm, deque()).append((self._arrived, frame))

    def _hand_over(self, reader: _Reader, frame: Deliver | None) -> None:
        self._readers.remove(reader)
        self._handed_over += frame is not None
        reschedule(reader.task, outcome.Value(frame))

    def _take(self, wants: Wants) -> Deliver | None:
        """The message that has waited longest of those that the reader wants."""
        with self._lock:
            heads = [(queue[0][0], farm) for farm, queue in self._queues.items() if queue and wants(farm)]
            return self._queues[min(heads)[1]].popleft()[1] if heads else None

    async def _next(self, wants: Wants, *, ends: bool) -> Deliver | None:
        """The next message that the reader wants. With `ends`, None after `finish` when no such message waits.

        A cancelled wait loses no message.
        """
        if (frame := self._take(wants)) is not None or (ends and self._finishing):
            return frame
        reader = _Reader(current_task(), wants, ends)
        self._readers.append(reader)
        frame = cast("Deliver | None", await wait_rescheduled(lambda: self._readers.remove(reader)))
        self._handed_over -= frame is not None
        return frame

    def program_ended(self) -> None:
        """The program has ended: the handlers get its messages from now on."""
        self.has_program = self._program_reads = self._program_reads_farms = False
        self.begin_handlers()

    def begin_handlers(self) -> None:
        """The handlers need not wait for the program any more."""
        self.handlers_wait = False
        for reader in list(self._readers):
            if (frame := self._take(reader.wants)) is not None:
                self._hand_over(reader, frame)

    def drop(self) -> None:
        """Drop all waiting messages: the master gives them to another member."""
        with self._lock:
            self._queues.clear()

    async def wait_begun(self) -> None:
        """Wait until `Begun` has been sent for every message that was passed to a reader."""
        while self._handed_over:
            await trio.lowlevel.checkpoint()

    def finish(self) -> None:
        """No more messages will arrive: end the loops when none waits."""
        self._finishing = True
        for reader in [reader for reader in self._readers if reader.ends]:
            self._hand_over(reader, None)

    # ----- handlers, and functions of farms

    async def serve(self) -> None:
        """Pass messages to the registered handlers; returns after `finish`, when none waits for them."""
        if not self.holds_slot.is_set():
            await self.holds_slot.wait()
        # Let a program that begins with `mule_get_msg` get earlier messages too; its unit is in its own task.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        await self._serve(self._for_handlers, self._handle)

    async def serve_farm(self, farm: str, function: MessageHandler) -> None:
        """Pass a farm's messages to its function; returns after `finish`, when none waits."""
        await self._serve(lambda other: other == farm, partial(self._call, function))

    async def _serve(self, wants: Wants, handle: Callable[[MuleMessage], Awaitable[None]]) -> None:
        while (frame := await self._next(wants, ends=True)) is not None:
            await self._begin(frame)
            what = f"farm {frame.farm} message" if frame.farm else "message"
            self._member.journal.note(self._member.name, f"{what} {len(frame.message)} bytes")
            await handle(_message(frame))
            self._member.link.send(Ended(frame.ticket))
            await trio.lowlevel.checkpoint()  # a burst of handlers that never wait must not block Trio

    async def _begin(self, frame: Deliver) -> None:
        """Report that a message is begun. Its code runs only then, or a message that is done might be given again."""
        link = self._member.link
        link.send(Begun(frame.ticket))
        if link.behind:
            await self._written()

    async def _written(self) -> None:
        with trio.CancelScope(shield=True):  # the message is begun, and must not get lost
            await self._member.link.written()

    def _for_handlers(self, farm: str) -> bool:
        functions = self._member.registry.mules
        taken = self._program_reads_farms if farm else self._program_reads
        if self.handlers_wait or taken or farm in functions.farms:
            return False
        return bool(functions.message_handlers) or not self.has_program

    async def _handle(self, message: MuleMessage) -> None:
        handlers = self._member.registry.mules.message_handlers
        if not handlers:
            logger.warning(
                "%s: dropped a message of %d bytes: there is no message handler; use @uwsgi.mule_message_handler",
                self._member.name,
                len(message),
            )
        for handler in list(handlers):
            await self._call(handler, message)

    async def _call(self, function: MessageHandler, message: MuleMessage) -> None:
        await self._calls.run("message", message.farm, function, message)

    # ----- a program

    async def get(self, timeout: float, *, own: bool = True, farms: bool = True) -> MuleMessage | None:
        """The next message for the mule's program; None after `timeout` seconds. A cancelled wait loses no message.

        Args:
            timeout: in seconds, 0 or more.
            own: accept messages to the mule itself.
            farms: accept messages to its farms.
        """
        self._program_reads |= own
        self._program_reads_farms = True
        self.begin_handlers()
        self.release()
        self._limit(math.inf)
        await trio.lowlevel.checkpoint()
        frame = None
        with trio.move_on_after(timeout):
            frame = await self._next(partial(self._for_program, own, farms), ends=False)
        if self._member.killed:  # in the step in which the message was passed: it does not count as received
            await trio.lowlevel.checkpoint_if_cancelled()
        if frame is None:
            return None
        with self._lock:
            self.release()  # several tasks of one program may read; the message that another task got meanwhile is done
            self._held = frame.ticket
        await self._begin(frame)
        self._limit(trio.current_time() + (self._calls.limit or math.inf))
        return _message(frame)

    def take_in_thread(self, *, farms: bool = True) -> MuleMessage | None:
        """As `get`, in a thread that serves a task, for a program that reads its messages already. None: none of them
        waits, or it has to be begun on Trio's thread: that sets its time limit, or a direct link is used there only.
        """
        link = self._member.link
        send = link.send_from_thread
        if self._calls.limit or not self._program_reads or not link.any_thread:
            return None
        with self._lock:
            frame = self._take(partial(self._for_program, True, farms))
            if frame is None:
                return None
            held, self._held = self._held, frame.ticket
            begun = (held is None or send(Ended(held))) and send(Begun(frame.ticket))
        if not begun:  # the link has ended: the master still has the message, for the next instance
            return None
        if link.behind:
            trio.from_thread.run(self._written)
        return _message(frame)

    def _for_program(self, own: bool, farms: bool, farm: str) -> bool:
        return farms and farm not in self._member.registry.mules.farms if farm else own

    @staticmethod
    def _limit(deadline: float) -> None:
        """Set the deadline of the program for the message that it handles."""
        if (unit := UNIT.get(None)) is not None:
            unit.option_deadline = deadline
            unit.set_user_deadline(unit.user_deadline)

    def release(self) -> None:
        """The program has handled its last message: it reads the next one, or it has ended."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            self._member.link.send(Ended(held))


def _message(frame: Deliver) -> MuleMessage:
    return MuleMessage(frame.message, frame.farm, redelivered=frame.redelivered)


async def wait_rescheduled(forget: Callable[[], None]) -> object:
    """Wait until rescheduled with a value. `forget` removes a cancelled wait from its queue."""

    def abort(_: RaiseCancelT) -> Abort:
        forget()
        return Abort.SUCCEEDED

    return await wait_task_rescheduled(abort)
