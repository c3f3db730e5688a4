"""The process table: the members' processes of one runtime in a test, with the test's channel to each of them.

It learns in two ways which processes there are. The channel to the zygote (`forked_zygote.py`) reports each fork and
each process that was reaped. The clock agent of a member (`clock_agent.py`) connects as soon as its process runs; over
that connection the coordinator asks for reports (`clock_coordinator.py`), and the test passes connections to workers.
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

from trio_uwsgi._testing.clock_agent import ACTIVE, IDLE_REPORT

if TYPE_CHECKING:
    from trio_uwsgi._testing.clock_coordinator import ClockCoordinator

__all__ = ["ProcessTable", "TrackedProcess"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class TrackedProcess:
    """One member's process. `channel` leads to its clock agent while the two are connected; `steps` and `due` are from
    the agent's last report, and `reported` is set when the next one has arrived or the channel has ended.
    """

    def __init__(self) -> None:
        self.unreaped = False  # the zygote has forked it, and not reaped it yet
        self.killed = False
        self.channel: socket.socket | None = None
        self.name = ""
        self.pidfd = -1
        self.steps = -1
        self.due = math.inf
        self.reported = trio.Event()

    @property
    def changing(self) -> bool:
        """Is the process starting or ending?"""
        return self.unreaped and (self.channel is None or self.killed)

    @property
    def running(self) -> bool:
        """Is this a running member?"""
        return self.unreaped and self.channel is not None and not self.killed

    def send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message to the agent. A process that has ended gets none."""
        if self.channel is not None:
            with contextlib.suppress(OSError):  # it has ended: `ProcessTable._track` will read the channel's end
                socket.send_fds(self.channel, [message], descriptors)


class ProcessTable:
    """The processes of one runtime. Their agents connect to `address`. The coordinator calls `on_idle` whenever all
    processes are idle.
    """

    def __init__(self, coordinator: ClockCoordinator | None) -> None:
        self._coordinator = coordinator
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind("")  # Linux picks an unused abstract name
        self._listener.listen(1024)
        self.address: bytes = self._listener.getsockname()
        self.processes: dict[int, TrackedProcess] = {}  # by process id
        self._pending = 0  # answers and ends of zygotes that are awaited
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.on_idle: Callable[[], None] = _ignore

    @property
    def changing(self) -> bool:
        """Is a process being started, or ending?"""
        return self._pending > 0 or any(process.changing for process in self.processes.values())

    # ----- reported by the channel to the zygote

    def add_pending(self) -> None:
        """A zygote was sent a request, or is ending: no time passes until `remove_pending`."""
        self._pending += 1

    def remove_pending(self) -> None:
        """The zygote has answered, or ended."""
        self._pending -= 1

    def forked(self, pid: int, pidfd: int) -> None:
        """The zygote has forked a process. The descriptor is duplicated."""
        process = self._process(pid)
        process.unreaped, process.pidfd = True, os.dup(pidfd)

    def reaped(self, pid: int) -> None:
        """The zygote has reaped a process."""
        process = self.processes[pid]
        process.unreaped = False
        os.close(process.pidfd)
        if process.channel is None:
            del self.processes[pid]

    # ----- for the test

    def running(self) -> list[str]:
        """The names of the running members."""
        return sorted(process.name for process in self.processes.values() if process.running)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a member's process.

        Raises:
            LookupError: no running member has this name.
        """
        process = self._find(name)
        process.killed = True
        signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)

    def connect(self, name: str, message: bytes) -> socket.socket:
        """Make a pair of sockets, pass one to a member with a message, and return the other.

        Raises:
            LookupError: no running member has this name.
        """
        process = self._find(name)
        near, far = socket.socketpair()
        with far:
            process.send(message, (far.fileno(),))
        self._connections.add(near)
        return near

    def _find(self, name: str) -> TrackedProcess:
        """The process of a member; while one is being replaced, the older of the two."""
        for process in self.processes.values():
            if process.name == name and process.running:
                return process
        raise LookupError(f"no member {name!r} is running; running: {', '.join(self.running())}")

    # ----- connections of the agents

    def _process(self, pid: int) -> TrackedProcess:
        return self.processes.setdefault(pid, TrackedProcess())

    def close_in_child(self) -> None:
        """Close the test's descriptors in a forked process. Otherwise closing them in the test would have no effect."""
        self._listener.close()
        for connection in list(self._connections):
            connection.close()
        for process in self.processes.values():
            if process.channel is not None:
                process.channel.close()
            if process.unreaped:
                os.close(process.pidfd)

    async def serve(self) -> None:
        """Accept the agents' connections and receive their reports, until cancelled."""
        with self._listener:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.lowlevel.wait_readable(self._listener)
                    channel, _ = self._listener.accept()
                    channel.setblocking(False)
                    nursery.start_soon(self._track, channel)

    async def _track(self, channel: socket.socket) -> None:
        credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = _CREDENTIALS.unpack(credentials)[0]
        process = self._process(pid)  # the agent may connect before the zygote has reported the fork
        with channel, self._uncounted():
            if name := await _receive(channel):
                process.channel, process.name = channel, name.decode()
                try:
                    await self._receive_reports(channel, process)
                finally:
                    process.channel = None
                    process.reported.set()
        if not process.unreaped:
            self.processes.pop(pid, None)
        self._check_again()

    async def _receive_reports(self, channel: socket.socket, process: TrackedProcess) -> None:
        self._check_again()
        while message := await _receive(channel):
            if message != ACTIVE:
                process.steps, process.due = IDLE_REPORT.unpack(message)
                process.reported.set()
            self._check_again()

    def _uncounted(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._coordinator is None else self._coordinator.uncounted()

    def _check_again(self) -> None:
        if self._coordinator is not None:
            self._coordinator.check_again()


def _ignore() -> None:
    pass


async def _receive(channel: socket.socket) -> bytes:
    """The next message; empty when the other end is closed."""
    await trio.lowlevel.wait_readable(channel)
    try:
        return channel.recv(1024)
    except ConnectionError:
        return b""
