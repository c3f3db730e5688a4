"""Moves one virtual time for this process and for those of its members. Floor 3.

Used by `trio_uwsgi.testing`. Trio's mock clock jumps when its own run has nothing to do; but what this run waits for
may be under way in another process. So the clock is held, and a task here, the conductor, moves it, when the whole tree
of processes has come to rest:

    this run is idle, no thread of it runs code, and no process is being started or about to be gone
    a round: every member's process is asked, and answers once it is idle too (`follower.py`)
    another round: nobody, here or there, has taken a step since the one before

What somebody sends is readable in another process at once (sockets, pipes and inotify do not travel), and whoever
answers has read what was there. So if nobody took a step from one answer to the next, there was a moment in between at
which all were idle and nothing was on its way; and from such a moment on only time can make anything happen. It jumps
to the earliest deadline of all, is written to memory that all of them see (`_tasks/virtual_clock.py`), and the next
round wakes them.

A process that was killed counts as busy until it has been reaped, so time does not pass between a death and its notice.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_uwsgi._runtime.follower import ANSWER, ASK, STIRRED, TELL
from trio_uwsgi._tasks.virtual_clock import SharedNow

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_uwsgi._tasks.clock_hold import ClockHold

__all__ = ["Company", "Conductor", "conduct"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class _Follower:
    """One member's process, as seen from here. `channel` is there while it can be asked; `steps` and `due` are what it
    answered last, `heard` is set when it has.
    """

    def __init__(self) -> None:
        self.expected = False  # it was forked, and has not been reaped
        self.doomed = False  # it was killed
        self.channel: socket.socket | None = None
        self.name = ""
        self.pidfd = -1
        self.steps = -1
        self.due = math.inf
        self.heard = trio.Event()

    @property
    def busy(self) -> bool:
        """Is it on its way, in or out?"""
        return self.expected and (self.channel is None or self.doomed)

    @property
    def lives(self) -> bool:
        """Is it a member that is there?"""
        return self.expected and self.channel is not None and not self.doomed

    def say(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Say something to it, which may have gone."""
        if self.channel is not None:
            with contextlib.suppress(OSError):  # it has; the end of its channel says so
                socket.send_fds(self.channel, [message], descriptors)


class Company:
    """The processes of one runtime. They connect to `address`; `on_rest` is called whenever all have come to rest."""

    def __init__(self, conductor: Conductor | None) -> None:
        self._conductor = conductor
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind("")  # Linux finds a name that no file has
        self._listener.listen(1024)
        self.address: bytes = self._listener.getsockname()
        self.followers: dict[int, _Follower] = {}  # by process
        self._awaited = 0  # answers and ends of zygotes
        self.on_rest: Callable[[], None] = _ignore

    @property
    def busy(self) -> bool:
        """Is anybody being started, or about to be gone?"""
        return self._awaited > 0 or any(follower.busy for follower in self.followers.values())

    # ----- what the line to the zygote tells

    def await_something(self) -> None:
        """A zygote has been asked for something, or is ending: that takes no time."""
        self._awaited += 1

    def await_no_more(self) -> None:
        """It has answered, or ended."""
        self._awaited -= 1

    def forked(self, pid: int, pidfd: int) -> None:
        """There is one more process: it will connect, or end. The descriptor is copied."""
        follower = self._follower(pid)
        follower.expected, follower.pidfd = True, os.dup(pidfd)

    def reaped(self, pid: int) -> None:
        """It has ended, and everybody can see that."""
        follower = self.followers[pid]
        follower.expected = False
        os.close(follower.pidfd)
        if follower.channel is None:
            del self.followers[pid]

    # ----- what tests ask for

    def alive(self) -> list[str]:
        """The names of the members that are there."""
        return sorted(follower.name for follower in self.followers.values() if follower.lives)

    def kill(self, name: str) -> None:
        """SIGKILL.

        Raises:
            LookupError: there is nobody of this name.
        """
        follower = self._named(name)
        follower.doomed = True
        signal.pidfd_send_signal(follower.pidfd, signal.SIGKILL)

    def hand(self, name: str, descriptor: int, message: bytes) -> None:
        """Give a connection to a member. The descriptor is copied.

        Raises:
            LookupError: there is nobody of this name.
        """
        self._named(name).say(message, (descriptor,))

    def _named(self, name: str) -> _Follower:
        for follower in self.followers.values():
            if follower.name == name and follower.lives:
                return follower
        raise LookupError(f"{name!r} does not live; these do: {', '.join(self.alive())}")

    # ----- its life

    def _follower(self, pid: int) -> _Follower:
        return self.followers.setdefault(pid, _Follower())

    def forget(self) -> None:
        """In a forked process: this is the test's."""
        self._listener.close()
        for follower in self.followers.values():
            if follower.channel is not None:
                follower.channel.close()
            if follower.expected:
                os.close(follower.pidfd)

    async def serve(self) -> None:
        """Listen to all of them, until cancelled."""
        with self._listener:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.lowlevel.wait_readable(self._listener)
                    channel, _ = self._listener.accept()
                    channel.setblocking(False)
                    nursery.start_soon(self._listen, channel)

    async def _listen(self, channel: socket.socket) -> None:
        credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = _CREDENTIALS.unpack(credentials)[0]
        follower = self._follower(pid)  # perhaps before the zygote has told of it
        with channel, _mine(self._conductor):
            if name := await _receive(channel):
                follower.channel, follower.name = channel, name.decode()
                try:
                    await self._hear(channel, follower)
                finally:
                    follower.channel = None
                    follower.heard.set()
        if not follower.expected:
            self.followers.pop(pid, None)
        self._stir()

    async def _hear(self, channel: socket.socket, follower: _Follower) -> None:
        self._stir()
        while message := await _receive(channel):
            if message != STIRRED:
                follower.steps, follower.due = ANSWER.unpack(message)
                follower.heard.set()
            self._stir()

    def _stir(self) -> None:
        if self._conductor is not None:
            self._conductor.stir()


def _ignore() -> None:
    pass


async def _receive(channel: socket.socket) -> bytes:
    """The next message; nothing when the other end has gone."""
    await trio.lowlevel.wait_readable(channel)
    try:
        return channel.recv(1024)
    except ConnectionError:
        return b""


class Conductor(trio.abc.Instrument):
    """The conductor of one run of Trio. `now` is the time for the other processes."""

    def __init__(self, clock: MockClock, hold: ClockHold) -> None:
        self._clock = clock
        self._hold = hold
        self.now = SharedNow()
        self.now.set(clock.current_time())
        self.companies: list[Company] = []
        self.mine: set[trio.lowlevel.Task] = set()  # tasks whose steps are no activity
        self._steps = 0  # of all others
        self._stirred = trio.Event()
        self._baton = trio.Lock()
        self._settlers: list[trio.Event] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task not in self.mine:
            self._steps += 1
            self.now.set(self._clock.current_time())  # the test may have moved it
            self._stirred.set()

    def stir(self) -> None:
        """Something has happened: look again."""
        self._stirred.set()

    async def settled(self) -> None:
        """Wait until nothing happens any more at this instant, in any process."""
        event = trio.Event()
        self._settlers.append(event)
        await event.wait()

    async def run(self) -> None:
        """Move time, until cancelled. Of several tasks in here one does."""
        with _mine(self):
            async with self._baton:
                while True:
                    await self._come_to_rest()
                    for company in self.companies:
                        company.on_rest()
                    if self._settlers:
                        settlers, self._settlers = self._settlers, []
                        for event in settlers:
                            event.set()
                    elif not self._jump():
                        await self._wait_for_others()

    async def _come_to_rest(self) -> None:
        before: object = None
        while True:
            self._stirred = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            if self._hold.busy() or any(company.busy for company in self.companies):
                await self._stirred.wait()
                before = None
                continue
            steps = await self._round()
            if steps is not None and steps == before:
                return
            before = steps

    def _followers(self) -> list[_Follower]:
        return [
            follower
            for company in self.companies
            for follower in company.followers.values()
            if follower.channel is not None
        ]

    async def _round(self) -> list[int] | None:
        """Ask everybody. How many steps each has taken up to now; None if somebody has gone."""
        steps = [self._steps]
        followers = self._followers()
        for follower in followers:
            follower.heard = trio.Event()
            follower.say(ASK)
        for follower in followers:
            await follower.heard.wait()
            if follower.channel is None:
                return None
            steps.append(follower.steps)
        return steps

    def _jump(self) -> bool:
        """Move on to what is due first, if anything is, and if the clock may."""
        now = self._clock.current_time()
        own = now + trio.lowlevel.current_statistics().seconds_to_next_deadline
        due = min([own, *(follower.due for follower in self._followers())])
        if due == math.inf or not self._hold.jumps:
            return False
        while (ahead := due - self._clock.current_time()) > 0:  # again, if it was rounded down
            self._clock.jump(ahead)
        self.now.set(self._clock.current_time())
        return True

    async def _wait_for_others(self) -> None:
        """Nothing will happen by itself. A task that is woken from outside, here or there, goes on."""
        self._stirred = trio.Event()
        for follower in self._followers():
            follower.say(TELL)
        await self._stirred.wait()


@contextlib.contextmanager
def _mine(conductor: Conductor | None) -> Iterator[None]:
    """What this task does during the block is no activity."""
    if conductor is None:
        yield
        return
    task = trio.lowlevel.current_task()
    conductor.mine.add(task)
    try:
        yield
    finally:
        conductor.mine.discard(task)


_CONDUCTOR: trio.lowlevel.RunVar[tuple[Conductor | None, int]] = trio.lowlevel.RunVar("trio_uwsgi_conductor")


@contextlib.contextmanager
def conduct(hold: ClockHold | None) -> Iterator[Conductor | None]:
    """The run's conductor, in whose hands the clock is during the block; None on a clock that is not held.

    Several may use it at once. Each has to have a task in `Conductor.run`.
    """
    if hold is None:
        yield None
        return
    conductor, users = _CONDUCTOR.get((None, 0))
    if conductor is None:
        clock = trio.lowlevel.current_clock()
        conductor = Conductor(clock, hold)  # type: ignore[arg-type]  # a clock that is held, and no member's
        hold.conducted(True)
        trio.lowlevel.add_instrument(conductor)
    _CONDUCTOR.set((conductor, users + 1))
    try:
        yield conductor
    finally:
        users = _CONDUCTOR.get()[1]
        _CONDUCTOR.set((conductor, users - 1) if users > 1 else (None, 0))
        if users == 1:
            trio.lowlevel.remove_instrument(conductor)
            hold.conducted(False)
            conductor.now.close()
