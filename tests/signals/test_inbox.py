"""A member runs what it was given, in order, and nothing is lost between handlers, waiters and a mule's program."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_uwsgi._link.frames import Begun, Deliver, Ended, Frame, Ready, Stop
from trio_uwsgi._link.link import direct_links
from trio_uwsgi._runtime.dispatcher import Dispatcher
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.inbox import HANDLERS_PER_TURN, Inbox
from trio_uwsgi._signals.targets import Headcount, parse_target
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.unit import UNIT, Unit

if TYPE_CHECKING:
    from trio_uwsgi._runtime.slots import Slot


class Quiet:
    """A journal that remembers the notes and says nothing of failures."""

    remembers = True

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, member: str, what: str) -> None:
        self.notes.append(what)

    def failed(self, member: str, what: str, error: BaseException) -> None: ...


class Mule:
    """A mule's inbox, and a master that keeps the accounts of its slot: what is out of place is a KeyError."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.journal = Quiet()
        member = Member("mule", 1, self.registry, self.journal, lambda: 0.0)
        self.calls = Calls(member, 0)
        self.inbox = member.inbox = Inbox(member, self.calls)
        self.dispatcher = Dispatcher(Headcount(0, 1), 10_000, 10_000)
        self.slot: Slot = self.dispatcher.slots()[0]
        member.link, self.to_member = direct_links(self._obey, self.inbox.obey)
        self.frames: list[Frame] = []
        self.ran: list[object] = []

    def _obey(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Begun):
            self.dispatcher.begun(self.slot, frame.ticket)
        elif isinstance(frame, Ended):
            self.dispatcher.ended(self.slot, frame.ticket)

    def signal(self, signum: int) -> None:
        for _, delivery in self.dispatcher.give_signal(signum, parse_target("mule1"), "test"):
            self.to_member.send(Deliver(delivery.ticket, delivery.signum, b""))

    def message(self, message: bytes) -> None:
        _, delivery = self.dispatcher.give_message(message, 1, "test")
        self.to_member.send(Deliver(delivery.ticket, None, message))

    async def note_signal(self, signum: int) -> None:
        self.ran.append(signum)

    async def note_message(self, message: bytes) -> None:
        self.ran.append(message)

    async def read(self, count: int, name: str = "", timeout: float = 1000) -> None:
        """What a program does: get messages, one after the other."""
        for _ in range(count):
            self.ran.append(name.encode() + (await self.inbox.messages.get(timeout) or b"-"))

    async def finish(self, serve: Callable[[], Awaitable[None]]) -> None:
        """Let a loop run to the end of what waits."""
        self.inbox.finish()
        await serve()


@pytest.fixture
def mule() -> Mule:
    return Mule()


# ----- signals


async def test_signals_run_in_order(mule: Mule) -> None:
    """Handlers run in the order of the signals, and the master is told of each beginning and end."""
    mule.registry.register_signal(1, "mule1", mule.note_signal)
    mule.registry.register_signal(2, "mule1", mule.note_signal)
    for signum in (2, 1, 1):
        mule.signal(signum)
    await mule.finish(mule.inbox.serve_signals)
    assert [2, 1, 1] == mule.ran
    assert [Begun(1), Ended(1), Begun(2), Ended(2), Begun(3), Ended(3)] == mule.frames
    assert ["signal 2", "signal 1", "signal 1"] == mule.journal.notes


async def test_one_signal_at_a_time(mule: Mule, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A handler that waits holds up the next signal, which is counted as waiting meanwhile."""

    async def slow(signum: int) -> None:
        await trio.sleep(10)
        mule.ran.append((signum, trio.current_time()))

    mule.registry.register_signal(1, "mule1", slow)
    nursery.start_soon(mule.inbox.serve_signals)
    mule.signal(1)
    mule.signal(1)
    await trio.sleep(5)
    assert (1, 1) == (len(mule.slot.signals), len(mule.slot.running))
    await trio.sleep(20)
    assert [(1, 10.0), (1, 20.0)] == mule.ran
    mule.inbox.finish()


async def test_burst_from_a_handler_is_run_whole(mule: Mule) -> None:
    """3,000 signals that one handler raises are all run, in order, and other tasks get their turn in between."""
    turns = 0

    async def burst(signum: int) -> None:
        for n in range(3000):
            mule.signal(2 + n % 5)
        mule.inbox.finish()

    async def others() -> None:
        nonlocal turns
        while len(mule.ran) < 3000:
            turns += 1
            await trio.lowlevel.checkpoint()

    mule.registry.register_signal(1, "mule1", burst)
    for signum in range(2, 7):
        mule.registry.register_signal(signum, "mule1", mule.note_signal)
    mule.signal(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mule.inbox.serve_signals)
        nursery.start_soon(others)
    assert [2 + n % 5 for n in range(3000)] == mule.ran
    assert turns >= 3000 // HANDLERS_PER_TURN
    assert (0, 3001) == (mule.slot.load, mule.calls.done)


async def test_signals_come_while_the_loop_sleeps(mule: Mule, nursery: trio.Nursery) -> None:
    """A loop with nothing to do is woken by each signal, and ends with `finish` when none waits."""
    mule.registry.register_signal(1, "mule1", mule.note_signal)
    async with trio.open_nursery() as loop:
        loop.start_soon(mule.inbox.serve_signals)
        for _ in range(3):
            await wait_all_tasks_blocked()
            mule.signal(1)
        await wait_all_tasks_blocked()
        assert [1, 1, 1] == mule.ran
        mule.inbox.finish()


async def test_failing_handler_does_not_stop_the_others(mule: Mule) -> None:
    """A handler that raises is ended like any other, and the next signal runs."""

    async def fail(signum: int) -> None:
        raise ValueError

    mule.registry.register_signal(1, "mule1", fail)
    mule.registry.register_signal(2, "mule1", mule.note_signal)
    mule.signal(1)
    mule.signal(2)
    await mule.finish(mule.inbox.serve_signals)
    assert [2] == mule.ran
    assert (0, 1) == (mule.slot.load, mule.calls.failures)


async def test_signal_without_a_handler_here(mule: Mule, caplog: pytest.LogCaptureFixture) -> None:
    """A signal that only another process can handle is an error in the log, with the remedy, and is over."""
    mule.signal(9)
    await mule.finish(mule.inbox.serve_signals)
    assert ["mule1: signal 9 has no handler here; register it before serving starts"] == caplog.messages
    assert 0 == mule.slot.load


async def test_cancelled_in_the_middle_of_a_handler(mule: Mule, autojump_clock: MockClock) -> None:
    """A member that is cancelled leaves the accounts as they are: one delivery begun, not ended, the rest waiting."""

    async def slow(signum: int) -> None:
        await trio.sleep(10)

    mule.registry.register_signal(1, "mule1", slow)
    for _ in range(3):
        mule.signal(1)
    with trio.move_on_after(5) as scope:
        await mule.inbox.serve_signals()
    assert scope.cancelled_caught
    assert ([1], [2, 3]) == (list(mule.slot.running), list(mule.slot.signals))
    assert [2, 3] == [delivery.ticket for delivery in mule.dispatcher.retire(mule.slot)]


async def test_cancelled_between_two_signals(mule: Mule) -> None:
    """A cancellation between handlers leaves a whole number of them done."""
    mule.registry.register_signal(1, "mule1", mule.note_signal)
    for _ in range(HANDLERS_PER_TURN + 2):
        mule.signal(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await mule.inbox.serve_signals()
    assert [1] * HANDLERS_PER_TURN == mule.ran
    assert (0, 2) == (len(mule.slot.running), len(mule.slot.signals))


async def test_each_handler_has_its_own_time(mule: Mule, autojump_clock: MockClock) -> None:
    """A handler that takes too long is ended and counted; those behind it have the whole time, waiting or not."""
    mule.calls.limit = 5

    async def nap(signum: int) -> None:
        await trio.sleep(signum)
        mule.ran.append((signum, trio.current_time()))

    for signum in (0, 3, 10):
        mule.registry.register_signal(signum, "mule1", nap)
    for signum in (3, 10, 0, 3, 10, 3):
        mule.signal(signum)
    await mule.finish(mule.inbox.serve_signals)
    assert [(3, 3.0), (0, 8.0), (3, 11.0), (3, 19.0)] == mule.ran
    assert (4, 2, 0) == (mule.calls.done, mule.calls.harakiris, mule.calls.failures)
    assert [frame(ticket) for ticket in range(1, 7) for frame in (Begun, Ended)] == mule.frames


async def test_a_deadline_of_ones_own_ends_with_the_handler(
    mule: Mule, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Neither one that was set and not reached, nor one that a task sets after its handler, meets the next handler."""

    async def late(unit: Unit) -> None:
        await trio.sleep(1)
        unit.set_user_deadline(trio.current_time() + 1)

    async def limited(signum: int) -> None:
        UNIT.get().set_user_deadline(trio.current_time() + 2)
        nursery.start_soon(late, UNIT.get())

    async def slow(signum: int) -> None:
        await trio.sleep(10)
        mule.ran.append(trio.current_time())

    mule.registry.register_signal(1, "mule1", limited)
    mule.registry.register_signal(2, "mule1", slow)
    mule.signal(1)
    mule.signal(2)
    await mule.finish(mule.inbox.serve_signals)
    assert [10.0] == mule.ran
    assert (2, 0) == (mule.calls.done, mule.calls.harakiris)


async def test_a_handler_that_goes_on_after_its_time(mule: Mule, autojump_clock: MockClock) -> None:
    """One that cleans up after its time was up, and returns, is done; the next one is not cancelled for it."""
    mule.calls.limit = 5

    async def stubborn(signum: int) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(7)

    mule.registry.register_signal(1, "mule1", stubborn)
    mule.registry.register_signal(2, "mule1", mule.note_signal)
    for signum in (1, 2, 1, 2):
        mule.signal(signum)
    await mule.finish(mule.inbox.serve_signals)
    assert [2, 2] == mule.ran
    assert (4, 0) == (mule.calls.done, mule.calls.harakiris)


async def test_context_variables_stay_in_their_handler(mule: Mule, autojump_clock: MockClock) -> None:
    """What a handler sets, before or after it waits, no other one sees; the member's own context is seen by all."""
    variable = ContextVar("variable", default="")
    variable.set("member")

    async def handler(signum: int) -> None:
        mule.ran.append(variable.get())
        variable.set(f"before {signum}")
        await trio.sleep(signum)
        mule.ran.append(variable.get())
        variable.set(f"after {signum}")

    for signum in (1, 2):
        mule.registry.register_signal(signum, "mule1", handler)
        mule.signal(signum)
    await mule.finish(mule.inbox.serve_signals)
    assert ["member", "before 1", "member", "before 2"] == mule.ran
    await trio.lowlevel.checkpoint()
    assert "member" == variable.get()


# ----- signal_wait


async def test_waiters_wake_when_the_handler_has_run(mule: Mule, nursery: trio.Nursery) -> None:
    """All who wait for that signal or for any are woken, after its handler, also if that failed; the others wait on."""

    async def fail(signum: int) -> None:
        mule.ran.append("handler")
        raise ValueError

    async def wait(signum: int | None, name: str) -> None:
        mule.ran.append((name, await mule.inbox.wait_signal(signum)))

    mule.registry.register_signal(1, "mule1", fail)
    mule.registry.register_signal(2, "mule1", mule.note_signal)
    nursery.start_soon(mule.inbox.serve_signals)
    for signum, name in ((2, "two"), (1, "one"), (None, "any"), (1, "one too")):
        nursery.start_soon(wait, signum, name)
        await wait_all_tasks_blocked()
    mule.signal(1)
    await wait_all_tasks_blocked()
    assert "handler" == mule.ran[0]
    assert {("one", 1), ("one too", 1), ("any", 1)} == set(mule.ran[1:])
    mule.signal(2)
    await wait_all_tasks_blocked()
    assert [2, ("two", 2)] == mule.ran[-2:]
    mule.inbox.finish()


async def test_cancelled_wait_leaves_nothing(mule: Mule, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A wait that was given up is not woken, and does not disturb those who wait on."""
    mule.registry.register_signal(1, "mule1", mule.note_signal)
    nursery.start_soon(mule.inbox.serve_signals)
    with trio.move_on_after(1) as scope:
        await mule.inbox.wait_signal(1)
    assert scope.cancelled_caught
    mule.signal(1)
    await trio.sleep(1)
    assert [1] == mule.ran
    with trio.fail_after(1):
        nursery.start_soon(signal_soon, mule)
        assert 1 == await mule.inbox.wait_signal(None)
    mule.inbox.finish()


async def signal_soon(mule: Mule) -> None:
    await wait_all_tasks_blocked()
    mule.signal(1)


# ----- messages and handlers


async def test_handlers_get_messages_in_order(mule: Mule) -> None:
    """Every handler gets every message, in the order of declaration, one at a time; one that fails stops nobody."""

    async def fail(message: bytes) -> None:
        raise ValueError

    mule.registry.mule_message_handler(partial(mule.note_message))
    mule.registry.mule_message_handler(fail)
    mule.registry.mule_message_handler(partial(mule.note_message))
    mule.message(b"a")
    mule.message(b"")
    await mule.finish(mule.inbox.messages.serve)
    assert [b"a", b"a", b"", b""] == mule.ran
    assert [Begun(1), Ended(1), Begun(2), Ended(2)] == mule.frames
    assert (0, 2) == (mule.slot.load, mule.calls.failures)


async def test_burst_of_messages(mule: Mule, nursery: trio.Nursery) -> None:
    """3,000 messages sent at once are all handled, in order."""
    mule.registry.mule_message_handler(mule.note_message)
    async with trio.open_nursery() as loop:
        loop.start_soon(mule.inbox.messages.serve)
        await wait_all_tasks_blocked()
        for n in range(3000):
            mule.message(str(n).encode())
        mule.inbox.finish()
    assert [str(n).encode() for n in range(3000)] == mule.ran
    assert 0 == mule.slot.load


async def test_message_without_a_handler_is_dropped_with_a_warning(
    mule: Mule, caplog: pytest.LogCaptureFixture
) -> None:
    """A mule with neither handler nor program says what it dropped, and what to use."""
    mule.message(b"hello")
    await mule.finish(mule.inbox.messages.serve)
    assert [
        (
            "trio_uwsgi",
            logging.WARNING,
            "mule1: dropped a message of 5 bytes: there is no message handler; use @uwsgi.mule_message_handler",
        )
    ] == caplog.record_tuples
    assert 0 == mule.slot.load


async def test_programmed_mule_keeps_messages_for_its_program(mule: Mule, nursery: trio.Nursery) -> None:
    """Without handlers, messages wait until the program asks for them, and are reported if it never does."""
    async with trio.open_nursery() as loop:
        mule.inbox.messages.has_program = True
        loop.start_soon(mule.inbox.messages.serve)
        mule.message(b"a")
        mule.message(b"b")
        await wait_all_tasks_blocked()
        assert 2 == len(mule.slot.messages)
        await mule.read(1)
        mule.inbox.finish()
    assert [b"a"] == mule.ran
    assert [b"b"] == [delivery.message for delivery in mule.dispatcher.retire(mule.slot)]


# ----- messages and a program


async def test_program_takes_over_from_the_handlers(mule: Mule, nursery: trio.Nursery) -> None:
    """Handlers get messages until the program first asks; then it gets all, and gives them back at its end."""

    async def note(message: bytes) -> None:
        mule.ran.append(b"handler " + message)

    mule.registry.mule_message_handler(note)
    mule.inbox.messages.has_program = True
    nursery.start_soon(mule.inbox.messages.serve)
    mule.message(b"1")
    await wait_all_tasks_blocked()
    nursery.start_soon(mule.read, 2, "program ")
    await wait_all_tasks_blocked()
    for n in (b"2", b"3", b"4"):
        mule.message(n)
    await wait_all_tasks_blocked()
    assert [b"handler 1", b"program 2", b"program 3"] == mule.ran
    assert ([3], [4]) == (list(mule.slot.running), list(mule.slot.messages))
    mule.inbox.messages.release()
    mule.inbox.messages.program_ended()
    await wait_all_tasks_blocked()
    assert b"handler 4" == mule.ran[-1]
    assert 0 == mule.slot.load
    mule.inbox.finish()


async def test_messages_are_handed_over_first_come_first_served(mule: Mule, nursery: trio.Nursery) -> None:
    """Tasks that wait get the messages in the order in which they began to wait, every time."""
    for name in "abcdef":
        nursery.start_soon(mule.read, 1, name)
        await wait_all_tasks_blocked()
    for n in range(6):
        mule.message(str(n).encode())
    await wait_all_tasks_blocked()
    assert [b"a0", b"b1", b"c2", b"d3", b"e4", b"f5"] == sorted(mule.ran, key=str)
    mule.inbox.messages.release()
    assert 0 == mule.slot.load


async def test_waiting_messages_come_in_order(mule: Mule) -> None:
    """What waited already comes first and in order; asking for the next says that the one before is done."""
    for n in (b"1", b"2", b"3"):
        mule.message(n)
    await mule.read(2)
    assert [b"1", b"2"] == mule.ran
    assert [Begun(1), Ended(1), Begun(2)] == mule.frames
    mule.inbox.messages.release()
    mule.inbox.messages.release()
    assert [Ended(2)] == mule.frames[3:]


@pytest.mark.parametrize("timeout", [0, 0.5, 10])
async def test_timeout_gives_none_and_loses_nothing(mule: Mule, timeout: float, autojump_clock: MockClock) -> None:
    """After its seconds a wait gives None; what comes later is for the next call. With 0, what waits is still given."""
    assert await mule.inbox.messages.get(timeout) is None
    assert timeout == trio.current_time()
    mule.message(b"late")
    assert b"late" == await mule.inbox.messages.get(timeout)


async def test_cancelled_waiters_lose_nothing(mule: Mule, nursery: trio.Nursery) -> None:
    """Of many waiters some are cancelled; the messages go to the others, in their order, and none is lost."""
    scopes = []
    for name in "abcdef":
        inner = await nursery.start(cancellable, mule, name)
        scopes.append(inner)
        await wait_all_tasks_blocked()
    for scope in scopes[::2]:
        scope.cancel()
    for n in range(4):
        mule.message(str(n).encode())
    await wait_all_tasks_blocked()
    assert [b"b0", b"d1", b"f2"] == sorted(mule.ran, key=str)
    assert 1 == len(mule.slot.messages)
    assert b"3" == await mule.inbox.messages.get(0)


async def cancellable(mule: Mule, name: str, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await mule.read(1, name)


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_cancellation_and_message_at_the_same_instant(
    mule: Mule, nursery: trio.Nursery, cancel_first: bool
) -> None:
    """Whichever comes first counts: a cancelled wait leaves the message, one that was served returns it."""
    scope = await nursery.start(cancellable, mule, "")
    await wait_all_tasks_blocked()
    if cancel_first:
        scope.cancel()
    mule.message(b"x")
    scope.cancel()
    await wait_all_tasks_blocked()
    assert [] == mule.ran if cancel_first else [b"x"] == mule.ran
    assert cancel_first is bool(mule.slot.messages)
    assert cancel_first is not bool(mule.slot.running)


async def test_cancelled_before_it_waits(mule: Mule) -> None:
    """A program that is cancelled when it asks gets nothing, and the message stays; the one before is done."""
    mule.message(b"1")
    mule.message(b"2")
    await mule.read(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await mule.read(1)
    assert scope.cancelled_caught
    assert [b"1"] == mule.ran
    assert ([], [2]) == (list(mule.slot.running), list(mule.slot.messages))


async def test_several_readers_leave_nothing_running(mule: Mule, nursery: trio.Nursery) -> None:
    """When several tasks of a program read, every message is ended once, whatever the order in which they ask."""
    for name in "abc":
        nursery.start_soon(mule.read, 5, name)
    await wait_all_tasks_blocked()
    for n in range(15):
        mule.message(str(n).encode())
        if n % 4 == 0:
            await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    mule.inbox.messages.release()
    assert 15 == len(mule.ran)
    assert 0 == mule.slot.load


async def test_messages_and_signals_run_beside_each_other(
    mule: Mule, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A slow message handler does not hold up signals."""

    async def slow(message: bytes) -> None:
        await trio.sleep(10)
        mule.ran.append(message)

    mule.registry.mule_message_handler(slow)
    mule.registry.register_signal(1, "mule1", mule.note_signal)
    nursery.start_soon(mule.inbox.serve_signals)
    nursery.start_soon(mule.inbox.messages.serve)
    mule.message(b"slow")
    mule.signal(1)
    await trio.sleep(20)
    assert [1, b"slow"] == mule.ran
    mule.inbox.finish()


# ----- other frames


async def test_stop_is_told(mule: Mule) -> None:
    """`Stop` sets the event that the member waits for, and nothing else."""
    assert not mule.inbox.stopping.is_set()
    mule.to_member.send(Stop())
    assert mule.inbox.stopping.is_set()


async def test_frame_for_the_master_is_refused(mule: Mule) -> None:
    """A frame that no member obeys is an error of the link, not silence."""
    with pytest.raises(TypeError, match=r"the master sent .*, which is not for a member"):
        mule.to_member.send(Ready())
