"""The processes of a test's runtime: who is there, who comes, who goes; and a channel to each.

What a zygote does is told by the line to it (`forked_zygote.py`). A member's process connects as soon as it runs
(`clock_agent.py`); over the channel the conductor asks it (`clock_coordinator.py`), and a test gives it connections.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import struct
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._testing.clock_agent import ANSWER, WOKEN

if TYPE_CHECKING:
    from trio_uwsgi._testing.clock_coordinator import ClockCoordinator

__all__ = ["AgentChannel", "ProcessTable"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class AgentChannel:
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


class ProcessTable:
    """The processes of one runtime. They connect to `address`; `on_rest` is called whenever all have come to rest."""

    def __init__(self, coordinator: ClockCoordinator | None) -> None:
        self._coordinator = coordinator
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind("")  # Linux finds a name that no file has
        self._listener.listen(1024)
        self.address: bytes = self._listener.getsockname()
        self.agents: dict[int, AgentChannel] = {}  # by process
        self._awaited = 0  # answers and ends of zygotes
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.on_rest: Callable[[], None] = _ignore

    @property
    def busy(self) -> bool:
        """Is anybody being started, or about to be gone?"""
        return self._awaited > 0 or any(agent.busy for agent in self.agents.values())

    # ----- what the line to the zygote tells

    def await_something(self) -> None:
        """A zygote has been asked for something, or is ending: that takes no time."""
        self._awaited += 1

    def await_no_more(self) -> None:
        """It has answered, or ended."""
        self._awaited -= 1

    def forked(self, pid: int, pidfd: int) -> None:
        """There is one more process: it will connect, or end. The descriptor is copied."""
        agent = self._agent(pid)
        agent.expected, agent.pidfd = True, os.dup(pidfd)

    def reaped(self, pid: int) -> None:
        """It has ended, and everybody can see that."""
        agent = self.agents[pid]
        agent.expected = False
        os.close(agent.pidfd)
        if agent.channel is None:
            del self.agents[pid]

    # ----- what tests ask for

    def alive(self) -> list[str]:
        """The names of the members that are there."""
        return sorted(agent.name for agent in self.agents.values() if agent.lives)

    def kill(self, name: str) -> None:
        """SIGKILL.

        Raises:
            LookupError: there is nobody of this name.
        """
        agent = self._named(name)
        agent.doomed = True
        signal.pidfd_send_signal(agent.pidfd, signal.SIGKILL)

    def connect(self, name: str, message: bytes) -> socket.socket:
        """One end of a pair of sockets; a member is given the other one, with a message.

        Raises:
            LookupError: there is nobody of this name.
        """
        agent = self._named(name)
        near, far = socket.socketpair()
        with far:
            agent.say(message, (far.fileno(),))
        self._connections.add(near)
        return near

    def _named(self, name: str) -> AgentChannel:
        """Of two on one seat, the one who has been there longer."""
        for agent in self.agents.values():
            if agent.name == name and agent.lives:
                return agent
        raise LookupError(f"{name!r} does not live; these do: {', '.join(self.alive())}")

    # ----- its life

    def _agent(self, pid: int) -> AgentChannel:
        return self.agents.setdefault(pid, AgentChannel())

    def forget(self) -> None:
        """In a forked process: close what is the test's. Otherwise nobody would see that the test has closed it."""
        self._listener.close()
        for connection in list(self._connections):
            connection.close()
        for agent in self.agents.values():
            if agent.channel is not None:
                agent.channel.close()
            if agent.expected:
                os.close(agent.pidfd)

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
        agent = self._agent(pid)  # perhaps before the zygote has told of it
        with channel, self._aside():
            if name := await _receive(channel):
                agent.channel, agent.name = channel, name.decode()
                try:
                    await self._hear(channel, agent)
                finally:
                    agent.channel = None
                    agent.heard.set()
        if not agent.expected:
            self.agents.pop(pid, None)
        self._wake()

    async def _hear(self, channel: socket.socket, agent: AgentChannel) -> None:
        self._wake()
        while message := await _receive(channel):
            if message != WOKEN:
                agent.steps, agent.due = ANSWER.unpack(message)
                agent.heard.set()
            self._wake()

    def _aside(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._coordinator is None else self._coordinator.aside()

    def _wake(self) -> None:
        if self._coordinator is not None:
            self._coordinator.wake()


def _ignore() -> None:
    pass


async def _receive(channel: socket.socket) -> bytes:
    """The next message; nothing when the other end has gone."""
    await trio.lowlevel.wait_readable(channel)
    try:
        return channel.recv(1024)
    except ConnectionError:
        return b""
