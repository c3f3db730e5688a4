"""Both kinds of link tell the same story; a link in bytes also has a window, late refusals, and an end."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import Sequencer, memory_stream_pair, wait_all_tasks_blocked

from trio_uwsgi._link.frames import Alarm, Answer, Begun, Deliver, Ended, Frame, Post, Raise, Ready, Stop, encode
from trio_uwsgi._link.link import Batch, Link, StoredLink, StreamLink, direct_links
from trio_uwsgi.errors import MessageQueueFull, SignalQueueFull

WINDOW = 3


class End:
    """Who obeys at one end: remembers the frames, and refuses a signal of its own choice."""

    def __init__(self) -> None:
        self.got: list[Frame] = []
        self.refuse = -1

    def obey(self, frame: Frame) -> None:
        if isinstance(frame, Raise) and frame.signum == self.refuse:
            raise SignalQueueFull(frame.signum, "mule1", 7)
        self.got.append(frame)


class Pair:
    """Both ends of a link. `member` and `master` send; `settle` waits until everything sent has arrived."""

    def __init__(
        self, member: Link, master: Link, at_member: End, at_master: End, settle: Callable[[], Awaitable[None]]
    ) -> None:
        self.member = member
        self.master = master
        self.at_member = at_member
        self.at_master = at_master
        self.settle = settle


@pytest.fixture(params=["direct", "stream"])
async def pair(request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[Pair]:
    at_member, at_master = End(), End()
    if request.param == "direct":
        yield Pair(*direct_links(at_master.obey, at_member.obey), at_member, at_master, trio.lowlevel.checkpoint)
        return
    here, there = memory_stream_pair()
    member, master = StreamLink(here, at_member.obey, WINDOW), StreamLink(there, at_master.obey, WINDOW)
    nursery.start_soon(member.run)
    nursery.start_soon(master.run)
    yield Pair(member, master, at_member, at_master, wait_all_tasks_blocked)
    member.finish()


# ----- the same story over both


async def test_frames_arrive_in_order(pair: Pair) -> None:
    """What one end sends, the other obeys, in order, in both directions."""
    to_master: list[Frame] = [Ready(), Begun(1), Raise(17), Post(1, b"\0hello"), Ended(1), Raise(18)]
    to_member: list[Frame] = [Deliver(1, 17, b""), Deliver(2, None, b"\0hello"), Stop()]
    for frame in to_master:
        pair.member.send(frame)
    for frame in to_member:
        pair.master.send(frame)
    await pair.settle()
    assert to_master == pair.at_master.got
    assert to_member == pair.at_member.got


async def test_many_frames_and_large_ones_arrive(pair: Pair) -> None:
    """Thousands of deliveries sent at once, and a message of megabytes, arrive whole."""
    frames: list[Frame] = [Deliver(n, 17, b"") for n in range(5000)]
    frames.append(Deliver(5000, None, b"m" * 3_000_000))
    for frame in frames:
        pair.master.send(frame)
    await pair.settle()
    assert frames == pair.at_member.got


async def test_refusal_leaves_the_link_in_order(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """A refused signal is an error of `send` or an error in the log, with the reason; frames around it arrive."""
    pair.at_master.refuse = 18
    told = ""
    for signum in (17, 18, 19):
        try:
            pair.member.send(Raise(signum))
        except SignalQueueFull as error:
            told = str(error)
    await pair.settle()
    assert [Raise(17), Raise(19)] == pair.at_master.got
    reason = "signal 18 was not raised: mule1 has 7 signals waiting"
    assert reason in (told or caplog.text)
    pair.member.send(Raise(20))
    await pair.settle()
    assert Raise(20) == pair.at_master.got[-1]


# ----- in bytes only


class Ends:
    """A StreamLink under test, and its peer's stream by hand."""

    def __init__(self, window: int = WINDOW) -> None:
        stream, self.peer = memory_stream_pair()
        self.end = End()
        self.link = StreamLink(stream, self.end.obey, window)

    async def read(self) -> bytes:
        await wait_all_tasks_blocked()
        return bytes(await self.peer.receive_some(1 << 20))


async def test_what_was_sent_before_run_waits(nursery: trio.Nursery) -> None:
    """A link takes frames before it runs, and sends them first."""
    ends = Ends()
    ends.link.send(Ready())
    ends.link.send(Begun(1))
    nursery.start_soon(ends.link.run)
    assert encode(Ready()) + encode(Begun(1)) == await ends.read()
    ends.link.finish()


async def test_window_refuses_what_is_too_much(nursery: trio.Nursery) -> None:
    """With a window of frames unanswered, the next is refused here and not sent; an answer makes room."""
    ends = Ends()
    nursery.start_soon(ends.link.run)
    sent: list[Frame] = [Raise(1), Post(1, b"x"), Raise(2)]
    for frame in sent:
        ends.link.send(frame)
    with pytest.raises(SignalQueueFull, match="signal 3 was not raised: the master has 3 signals waiting"):
        ends.link.send(Raise(3))
    with pytest.raises(MessageQueueFull, match="the master has 3 messages waiting"):
        ends.link.send(Post(1, b"y"))
    ends.link.send(Ended(1))  # what needs no answer is never refused
    assert b"".join(map(encode, [*sent, Ended(1)])) == await ends.read()
    await ends.peer.send_all(encode(Answer()))
    await wait_all_tasks_blocked()
    ends.link.send(Raise(4))
    with pytest.raises(SignalQueueFull):
        ends.link.send(Raise(5))
    assert encode(Raise(4)) == await ends.read()
    await ends.peer.aclose()


async def test_late_refusal_is_logged_and_counted(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal that comes after `send` is an error in the log with its reason, is counted, and makes room."""
    ends = Ends(window=1)
    nursery.start_soon(ends.link.run)
    ends.link.send(Raise(1))
    await ends.peer.send_all(encode(Answer("mule1 is full")))
    await wait_all_tasks_blocked()
    assert [
        ("trio_uwsgi", logging.ERROR, "a signal or message was refused after it was sent: mule1 is full")
    ] == caplog.record_tuples
    assert 1 == ends.link.refused
    ends.link.send(Raise(2))
    await ends.peer.aclose()


async def test_refusal_is_answered_with_its_reason(nursery: trio.Nursery) -> None:
    """The end that refuses answers each frame in order, with the reason where there is one."""
    ends = Ends()
    ends.end.refuse = 2
    nursery.start_soon(ends.link.run)
    await ends.peer.send_all(encode(Raise(1)) + encode(Raise(2)) + encode(Post(0, b"x")) + encode(Begun(3)))
    reason = str(SignalQueueFull(2, "mule1", 7))
    assert b"".join(map(encode, [Answer(), Answer(reason), Answer()])) == await ends.read()
    assert [Raise(1), Post(0, b"x"), Begun(3)] == ends.end.got
    await ends.peer.aclose()


async def test_one_answer_for_many_frames(nursery: trio.Nursery) -> None:
    """Frames that arrive together are answered together, and the sender has that much room again."""
    sender, receiver = Ends(), Ends()
    nursery.start_soon(sender.link.run)
    nursery.start_soon(receiver.link.run)
    sent: list[Frame] = [Raise(1), Post(1, b"x"), Raise(2)]
    for frame in sent:
        sender.link.send(frame)
    await receiver.peer.send_all(await sender.read())
    answer = await receiver.read()
    assert encode(Answer(count=3)) == answer
    assert sent == receiver.end.got
    await sender.peer.send_all(answer)
    await wait_all_tasks_blocked()
    for frame in sent:
        sender.link.send(frame)
    with pytest.raises(SignalQueueFull):
        sender.link.send(Raise(3))
    await sender.peer.aclose()
    await receiver.peer.aclose()


async def test_frame_that_is_too_large_leaves_the_link_alone(nursery: trio.Nursery) -> None:
    """What no peer would take is refused by `send`, uses no room of the window, and the link goes on."""
    ends = Ends(window=1)
    nursery.start_soon(ends.link.run)
    with pytest.raises(ValueError, match="is larger than"):
        ends.link.send(Post(1, bytes(66 * 1024 * 1024)))
    ends.link.send(Raise(1))
    assert encode(Raise(1)) == await ends.read()
    await ends.peer.aclose()


async def test_finish_sends_what_is_left() -> None:
    """`finish` lets everything out, also what is sent while the stream takes it, and then closes; `run` returns."""
    ends = Ends()
    ends.link.send(Begun(1))
    ends.link.finish()
    ends.link.send(Ended(1))
    await ends.link.run()
    assert encode(Begun(1)) + encode(Ended(1)) + b"" == await ends.peer.receive_some(1 << 20)
    assert b"" == await ends.peer.receive_some(1)


async def test_finish_with_nothing_left() -> None:
    """`finish` ends an idle link, before `run` and while it runs."""
    before, during = Ends(), Ends()
    before.link.finish()
    await before.link.run()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(during.link.run)
        await wait_all_tasks_blocked()
        during.link.finish()
    assert [b"", b""] == [await ends.peer.receive_some(1) for ends in (before, during)]


async def test_finish_waits_for_the_answers(caplog: pytest.LogCaptureFixture) -> None:
    """A signal that was sent last may still be refused: the link stays until it knows, and logs the refusal."""
    ends, order = Ends(), Sequencer()
    ends.link.send(Raise(1))
    ends.link.send(Raise(2))
    ends.link.finish()

    async def run() -> None:
        await ends.link.run()
        async with order(1):
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        async with order(0):
            await wait_all_tasks_blocked()
            await ends.peer.send_all(encode(Answer()))
            await wait_all_tasks_blocked()
            await ends.peer.send_all(encode(Answer("no member is there")))
    assert ["a signal or message was refused after it was sent: no member is there"] == caplog.messages


async def test_link_ends_when_the_peer_closes(nursery: trio.Nursery) -> None:
    """When the other end closes, `run` obeys what came before, closes its own end and returns, answered or not."""
    ends = Ends()
    ends.link.send(Raise(1))
    await ends.peer.send_all(encode(Begun(1)) + encode(Ended(1)))
    await ends.peer.aclose()
    ends.link.finish()
    await ends.link.run()
    assert [Begun(1), Ended(1)] == ends.end.got


async def test_peer_that_closes_while_frames_are_on_their_way(nursery: trio.Nursery) -> None:
    """A master that sends to a member which has just closed does not fail; what the member said last is obeyed."""
    ends = Ends()
    async with trio.open_nursery() as running:
        running.start_soon(ends.link.run)
        await wait_all_tasks_blocked()
        await ends.peer.send_all(encode(Begun(1)) + encode(Ended(1)))
        await ends.peer.aclose()
        ends.link.send(Deliver(2, 17, b""))
    assert [Begun(1), Ended(1)] == ends.end.got


class Reset(trio.abc.Stream):
    """A stream whose peer is gone, as a socket tells it: by an error instead of an end."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_reset_is_an_end() -> None:
    """A stream that breaks ends the link like one that closes."""
    link = StreamLink(Reset(), End().obey, WINDOW)
    link.send(Begun(1))
    await link.run()
    assert 0 == link.refused


async def test_hostile_bytes_end_the_link() -> None:
    """Bytes that are no frame are an error of `run`; frames before them were obeyed, and the stream is closed."""
    ends = Ends()
    await ends.peer.send_all(encode(Begun(1)) + b"\0\0\0\x04\0\0\0\x09")
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="not a frame")):
        await ends.link.run()
    assert [Begun(1)] == ends.end.got
    assert b"" == await ends.peer.receive_some(1)


async def test_cancelled_link_closes_its_stream(autojump_clock: trio.testing.MockClock) -> None:
    """A cancelled `run`, waiting for frames or for a peer that does not read, leaves a closed stream."""
    ends = Ends()
    with trio.move_on_after(1) as scope:
        await ends.link.run()
    assert scope.cancelled_caught
    assert b"" == await ends.peer.receive_some(1)
    with pytest.raises(trio.BrokenResourceError):
        await ends.peer.send_all(encode(Stop()))


class Stuck(Reset):
    """A stream whose peer reads nothing and says nothing."""

    def __init__(self) -> None:
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        return b""

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_cancelled_while_it_writes(autojump_clock: trio.testing.MockClock) -> None:
    """A peer that takes nothing does not hold up a cancellation, also not of a link that finishes."""
    stream = Stuck()
    link = StreamLink(stream, End().obey, WINDOW)
    link.send(Begun(1))
    link.finish()
    with trio.move_on_after(1) as scope:
        await link.run()
    assert scope.cancelled_caught
    assert stream.closed


async def test_a_cut_link_says_nothing_more(pair: Pair) -> None:
    """What was sent before the cut arrives, what is sent after it does not, without an error."""
    pair.member.send(Begun(1))
    await pair.settle()
    pair.member.cut()
    pair.member.send(Ended(1))
    pair.member.send(Raise(17))
    await pair.settle()
    assert [Begun(1)] == pair.at_master.got


# ----- to another process


class Sockets:
    """A StreamLink over a socket, and the other end of that by hand."""

    def __init__(self) -> None:
        near, self.peer = socket.socketpair()
        for end in (near, self.peer):
            end.setblocking(False)
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(near))
        self.end = End()
        self.link = StreamLink(self.stream, self.end.obey, WINDOW)

    def read(self) -> bytes:
        """What has arrived."""
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b"nothing yet"

    async def read_all(self, size: int) -> bytes:
        """Receive this many bytes."""
        data = bytearray()
        while len(data) < size:
            await trio.lowlevel.wait_readable(self.peer)
            data += self.read()
        return bytes(data)


@pytest.fixture
async def sockets() -> AsyncIterator[Sockets]:
    """A link over a socket."""
    sockets = Sockets()
    yield sockets
    sockets.stream.socket.close()
    sockets.peer.close()


async def test_a_frame_has_left_when_send_returns(sockets: Sockets) -> None:
    """What is said before user code runs has left the process, should that end it."""
    sockets.link.send(Begun(1))
    assert encode(Begun(1)) == sockets.read()


async def test_what_is_passed_on_is_written_at_once(sockets: Sockets, nursery: trio.Nursery) -> None:
    """What a link sends while another of the same batch obeys what has arrived is written when all of it is obeyed."""
    batch, passed = Batch(), Sockets()
    link = StreamLink(passed.stream, passed.end.obey, WINDOW, batch)
    written: list[bytes] = []

    def pass_on(frame: Frame) -> None:
        link.send(frame)
        written.append(passed.read())

    near, far = memory_stream_pair()
    nursery.start_soon(StreamLink(near, pass_on, WINDOW, batch).run)
    await far.send_all(encode(Begun(1)) + encode(Begun(2)))
    await wait_all_tasks_blocked()
    assert [b"nothing yet", b"nothing yet"] == written
    assert encode(Begun(1)) + encode(Begun(2)) == passed.read()
    link.send(Begun(3))  # nothing is obeyed any more
    assert encode(Begun(3)) == passed.read()
    await far.aclose()
    passed.stream.socket.close()
    passed.peer.close()


async def test_another_thread_sends(sockets: Sockets, nursery: trio.Nursery) -> None:
    """In a thread a frame has left when the call returns, or waits behind what the pipe does not take; the window is
    the same; a link that does not run refuses.
    """
    send = sockets.link.send_from_thread
    assert not sockets.link.any_thread
    assert not await trio.to_thread.run_sync(send, Raise(1))
    nursery.start_soon(sockets.link.run)
    await wait_all_tasks_blocked()
    assert sockets.link.any_thread
    assert await trio.to_thread.run_sync(send, Raise(1))
    assert encode(Raise(1)) == sockets.read()
    large = Post(1, b"m" * 3_000_000)

    def send_more() -> None:
        assert send(large)
        assert send(Begun(1))
        assert send(Raise(2))
        with pytest.raises(SignalQueueFull):
            send(Raise(3))

    await trio.to_thread.run_sync(send_more)
    sockets.link.send(Begun(2))
    data = b"".join(map(encode, [large, Begun(1), Raise(2), Begun(2)]))
    assert data == await sockets.read_all(len(data))
    sockets.link.cut()
    assert not await trio.to_thread.run_sync(send, Begun(3))
    sockets.peer.close()
    await wait_all_tasks_blocked()
    assert not await trio.to_thread.run_sync(send, Begun(4))


async def test_links_without_a_pipe_refuse_another_thread(pair: Pair) -> None:
    """Where no system call sends a frame, only Trio's thread can."""
    for link in (pair.member, pair.master, StoredLink(1)):
        assert not link.any_thread
        assert not await trio.to_thread.run_sync(link.send_from_thread, Begun(1))
    await pair.settle()
    assert [] == pair.at_master.got + pair.at_member.got


async def test_a_pipe_that_takes_a_part(sockets: Sockets, nursery: trio.Nursery) -> None:
    """What it does not take at once follows when the other end reads, in order, with what was said meanwhile."""
    nursery.start_soon(sockets.link.run)
    frames = [Deliver(1, None, b"m" * 3_000_000), *(Deliver(n, 17, b"") for n in range(2, 5))]
    for frame in frames:
        sockets.link.send(frame)
    data = b"".join(map(encode, frames))
    assert data == await sockets.read_all(len(data))
    sockets.link.send(Stop())  # nothing waits any more: it is written at once again
    await wait_all_tasks_blocked()
    sockets.link.send(Begun(9))
    assert encode(Stop()) + encode(Begun(9)) == await sockets.read_all(len(encode(Stop()) + encode(Begun(9))))
    sockets.link.finish()


async def test_a_full_pipe(sockets: Sockets, nursery: trio.Nursery) -> None:
    """A frame for which there is no room at all waits, whole."""
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(sockets.stream.socket.fileno(), b"x")
    sockets.link.send(Begun(1))
    sockets.link.send(Ended(1))
    nursery.start_soon(sockets.link.run)
    data = await sockets.read_all(filled + len(encode(Begun(1)) + encode(Ended(1))))
    assert encode(Begun(1)) + encode(Ended(1)) == data[filled:]
    sockets.link.finish()


async def test_a_pipe_that_the_other_end_has_closed(sockets: Sockets) -> None:
    """What is sent then is dropped without an error, and what the other end sent before is still obeyed."""
    sockets.peer.send(encode(Begun(1)))
    sockets.peer.close()
    sockets.link.send(Stop())
    await sockets.link.run()
    assert [Begun(1)] == sockets.end.got
    sockets.link.send(Stop())  # its descriptor may be used by another file by now


def test_the_link_of_an_import_keeps_what_is_sent() -> None:
    """As many signals and messages as a window holds, in order, with all other frames."""
    link = StoredLink(2)
    frames = [Raise(1), Post(0, b"m"), Ready(), Alarm("a", "text")]
    for frame in frames:
        link.send(frame)
    with pytest.raises(SignalQueueFull):
        link.send(Raise(2))
    with pytest.raises(MessageQueueFull):
        link.send(Post(0, b"n"))
    assert frames == link.sent
    link.cut()
    assert [] == link.sent
