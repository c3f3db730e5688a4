"""Inside of a mule every message is for one reader: a handler, a farm's function, or the program."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_uwsgi._link.frames import Begun, Deliver, Ended, Frame
from trio_uwsgi._link.link import direct_links
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.messages import Messages
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.member import Member


class Quiet:
    """A journal that says nothing."""

    remembers = False

    def note(self, member: str, what: str) -> None: ...

    def failed(self, member: str, what: str, error: BaseException) -> None: ...


class Mule:
    """The messages of one mule; `ran` has what was handled by whom, `frames` what the master was told."""

    def __init__(self) -> None:
        self.registry = Registry()
        member = Member("mule", 1, self.registry, Quiet(), lambda: 0.0)
        self.frames: list[Frame] = []
        member.link, _ = direct_links(self.frames.append, self.frames.append)
        self.messages = Messages(member, Calls(member, 0))
        self.tickets = 0
        self.ran: list[tuple[str, bytes]] = []

    def send(self, message: bytes, farm: str = "") -> None:
        self.tickets += 1
        self.messages.put(Deliver(self.tickets, None, message, farm))

    async def note(self, who: str, message: bytes) -> None:
        self.ran.append((who, message))

    def handled_by(self, who: str) -> None:
        self.registry.mule_message_handler(partial(self.note, who))

    async def get(self, timeout: float = 0, own: bool = True, farms: bool = True) -> bytes | None:
        return await self.messages.get(timeout, own=own, farms=farms)


@pytest.fixture
def mule() -> Mule:
    return Mule()


async def test_handlers_get_messages_of_farms(mule: Mule) -> None:
    """Without a function or a program the handlers get all, in the order in which they were given."""
    mule.handled_by("handler")
    for n, farm in enumerate(("", "a", "b", "", "a")):
        mule.send(b"%d" % n, farm)
    mule.messages.finish()
    await mule.messages.serve()
    assert [("handler", b"%d" % n) for n in range(5)] == mule.ran
    assert [frame for n in range(1, 6) for frame in (Begun(n), Ended(n))] == mule.frames


async def test_a_function_has_its_farm_to_itself(mule: Mule) -> None:
    """Handlers and the program get nothing of a farm that has a function; it gets nothing else."""
    mule.handled_by("handler")
    function = mule.registry.farm("a")(partial(mule.note, "function"))
    for farm in ("", "a", "b"):
        mule.send(farm.encode(), farm)
    assert b"" == await mule.get()
    assert b"b" == await mule.get()
    assert await mule.get() is None
    mule.messages.program_ended()
    for farm in ("", "a", "b"):
        mule.send(farm.encode(), farm)
    mule.messages.finish()
    await mule.messages.serve()
    await mule.messages.serve_farm("a", function)
    assert [("handler", b""), ("handler", b"b"), ("function", b"a"), ("function", b"a")] == mule.ran


async def test_a_program_reads_in_the_order_of_arrival(mule: Mule) -> None:
    """Its own messages and those of farms come in one order, or one kind at a time; what is not wanted stays."""
    for n, farm in enumerate(("a", "", "b", "", "a")):
        mule.send(b"%d" % n, farm)
    assert b"0" == await mule.get()
    assert b"1" == await mule.get(farms=False)
    assert b"3" == await mule.get(farms=False)
    assert await mule.get(farms=False) is None
    assert b"2" == await mule.get(own=False)
    assert b"4" == await mule.get()
    assert await mule.get() is None


async def test_who_waits_gets_what_it_wants(mule: Mule, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A message goes past readers that do not want it to the first that does, every time."""
    got: list[str] = []

    async def read(who: str, own: bool, farms: bool) -> None:
        got.append(f"{who} {await mule.get(1000, own, farms)!r}")

    for who, own, farms in (("farms", False, True), ("own", True, False), ("all", True, True)):
        nursery.start_soon(read, who, own, farms)
        await wait_all_tasks_blocked()
    for message, farm in ((b"1", ""), (b"2", ""), (b"3", "a")):
        mule.send(message, farm)
        await wait_all_tasks_blocked()
    assert ["own b'1'", "all b'2'", "farms b'3'"] == got


async def test_what_a_program_leaves_goes_to_the_handlers(mule: Mule, nursery: trio.Nursery) -> None:
    """While it reads, handlers get nothing; a program of farms leaves them the mule's own; at its end they get all."""
    mule.handled_by("handler")
    mule.messages.has_program = True
    nursery.start_soon(mule.messages.serve)
    await wait_all_tasks_blocked()
    assert await mule.get(own=False) is None
    mule.send(b"own")
    mule.send(b"farm", "a")
    await wait_all_tasks_blocked()
    assert [("handler", b"own")] == mule.ran
    assert b"farm" == await mule.get(farms=True)
    mule.send(b"1")
    mule.send(b"2", "a")
    await wait_all_tasks_blocked()
    assert 1 == len(mule.ran)
    mule.messages.program_ended()
    await wait_all_tasks_blocked()
    assert [("handler", b"1"), ("handler", b"2")] == mule.ran[1:]
    mule.messages.finish()


async def test_a_cancelled_reader_is_forgotten(mule: Mule, nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A loop that is cancelled while it waits takes nothing; the next reader gets it."""
    function = mule.registry.farm("a")(partial(mule.note, "function"))
    with trio.move_on_after(1):
        await mule.messages.serve_farm("a", function)
    mule.send(b"x", "a")
    assert [] == mule.frames
    mule.messages.finish()
    await mule.messages.serve_farm("a", function)
    assert [("function", b"x")] == mule.ran


async def test_a_loop_ends_when_nothing_waits_for_it(mule: Mule, nursery: trio.Nursery) -> None:
    """`finish` wakes those that wait; what comes later is left for the report."""
    function = mule.registry.farm("a")(partial(mule.note, "function"))
    mule.handled_by("handler")
    async with trio.open_nursery() as loops:
        loops.start_soon(mule.messages.serve)
        loops.start_soon(mule.messages.serve_farm, "a", function)
        await wait_all_tasks_blocked()
        mule.messages.finish()
    mule.send(b"late")
    assert [] == mule.ran


class AnyThread:
    """A link that any thread may use, until its other end has closed; remembers the frames."""

    behind = False
    any_thread = True

    def __init__(self, frames: list[Frame]) -> None:
        self.send = frames.append
        self.frames = frames
        self.closed = False

    def send_from_thread(self, frame: Frame) -> bool:
        if not self.closed:
            self.frames.append(frame)
        return not self.closed

    async def written(self) -> None: ...

    def cut(self) -> None: ...


async def test_a_thread_takes_what_waits(mule: Mule) -> None:
    """Once its program reads, it gets what waits in the order of arrival, each begun, and the one before it ended."""
    mule.messages._member.link = AnyThread(mule.frames)
    mule.registry.farm("a")(partial(mule.note, "function"))
    take = mule.messages.take_in_thread
    for n, farm in enumerate(("", "a", "b", "", "b")):
        mule.send(b"%d" % n, farm)
    assert take() is None
    assert b"0" == await mule.get()
    assert [b"2", b"3", b"4", None] == [take() for _ in range(4)]
    assert [Begun(1), Ended(1), Begun(3), Ended(3), Begun(4), Ended(4), Begun(5)] == mule.frames
    mule.send(b"5", "b")
    mule.send(b"6")
    assert b"6" == take(farms=False)
    assert b"5" == await mule.get()
    assert [Ended(5), Begun(7), Ended(7), Begun(6)] == mule.frames[7:]
    mule.messages.release()
    mule.send(b"7")
    assert b"7" == take()
    assert [Ended(6), Begun(8)] == mule.frames[11:]


async def test_what_a_thread_does_not_take(mule: Mule) -> None:
    """A message with a time limit is begun on Trio's thread; with a link that has ended, the master keeps it."""
    mule.messages._member.link = link = AnyThread(mule.frames)
    assert await mule.get() is None
    mule.send(b"0")
    mule.messages._calls.limit = 5
    assert mule.messages.take_in_thread() is None
    mule.messages._calls.limit = 0
    link.any_thread = False
    assert mule.messages.take_in_thread() is None
    assert b"0" == await mule.get(), "what a direct link cannot begin in a thread is left for Trio's"
    mule.send(b"1")
    link.any_thread = link.closed = True
    assert mule.messages.take_in_thread() is None
    assert [Begun(1)] == mule.frames
