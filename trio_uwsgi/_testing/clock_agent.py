"""The clock agent: runs in a member's process and tells the test when that process is idle and when it has to wake.

The test's process moves the time for the member (`clock_coordinator.py` explains how). The two are connected by a
socket, which carries these messages:

    a name              from the member, first: its name
    REPORT_WHEN_IDLE    to the member: send an IDLE_REPORT as soon as you are idle
    IDLE_REPORT         from the member: how many steps its tasks have taken so far, and its earliest deadline
    NOTIFY_WHEN_ACTIVE  to the member: send ACTIVE once a task has taken a step since the last report
    ACTIVE              from the member: a task has taken a step
    a connection        to a worker: a descriptor and the peer's address

When the test runs on a real clock, the agent exchanges only the name and connections, and the member's heartbeat runs
as in production.
"""

from __future__ import annotations

import math
import pickle
import socket
import struct
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_uwsgi._process.heartbeat_loop import beat
from trio_uwsgi._testing.clock_hold import ClockHold, hold_clock

if TYPE_CHECKING:
    from trio_uwsgi._process.heartbeat_loop import HeartbeatLoop

__all__ = ["ACTIVE", "IDLE_REPORT", "NOTIFY_WHEN_ACTIVE", "REPORT_WHEN_IDLE", "ClockAgent"]

REPORT_WHEN_IDLE, NOTIFY_WHEN_ACTIVE, ACTIVE = b"?", b"~", b"!"
IDLE_REPORT = struct.Struct("qd")  # its length differs from that of all other messages
_LONGEST = 4096


class ClockAgent(trio.abc.Instrument):
    """The agent of the member in this process.

    Args:
        address: where the test's process table listens.
    """

    def __init__(self, address: bytes) -> None:
        self._address = address
        self._channel: socket.socket
        self._own_tasks: set[trio.lowlevel.Task] = set()  # the agent's tasks, whose steps are not counted
        self._steps = 0  # of all other tasks
        self._reported_steps = -1  # the number in the last report
        self._notify = False
        self._stepped = trio.Event()
        self._report_requested = trio.Event()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self._own_tasks:
            return
        self._steps += 1
        self._stepped.set()
        if self._notify:
            self._send_active()

    async def run_heartbeat(self, heartbeat_loop: HeartbeatLoop) -> None:
        """Serve the test's requests until cancelled, or until the test closes the channel."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as self._channel, hold_clock() as hold:
            self._channel.connect(self._address)
            self._channel.send(heartbeat_loop.member.name.encode())
            self._channel.setblocking(False)
            trio.lowlevel.add_instrument(self)
            try:
                async with trio.open_nursery() as nursery:
                    if hold is None:
                        nursery.start_soon(beat, heartbeat_loop)
                    else:
                        nursery.start_soon(self._report, heartbeat_loop, hold)
                    await self._receive(heartbeat_loop)
                    nursery.cancel_scope.cancel()
            finally:
                trio.lowlevel.remove_instrument(self)
                heartbeat_loop.end()

    async def _receive(self, heartbeat_loop: HeartbeatLoop) -> None:
        self._own_tasks.add(trio.lowlevel.current_task())
        while True:
            await trio.lowlevel.wait_readable(self._channel)
            message, descriptors, _, _ = socket.recv_fds(self._channel, _LONGEST, 1)
            if not message:
                return
            if descriptors:
                connection = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptors[0]))
                heartbeat_loop.member_factory.workers[heartbeat_loop.member.name].take(
                    trio.SocketStream(connection), pickle.loads(message)
                )
            elif message == REPORT_WHEN_IDLE:
                self._report_requested.set()
            elif self._steps != self._reported_steps:
                self._send_active()
            else:
                self._notify = True

    async def _report(self, heartbeat_loop: HeartbeatLoop, hold: ClockHold) -> None:
        self._own_tasks.add(trio.lowlevel.current_task())
        while True:
            await self._report_requested.wait()
            self._report_requested = trio.Event()
            self._notify = False
            await self._wait_until_idle(hold)
            if self._steps != self._reported_steps:
                self._reported_steps = self._steps
                heartbeat_loop.beat()
            left = trio.lowlevel.current_statistics().seconds_to_next_deadline
            due = math.inf if left == math.inf else trio.current_time() + left
            self._channel.send(IDLE_REPORT.pack(self._steps, due))

    async def _wait_until_idle(self, hold: ClockHold) -> None:
        """Wait until no task can take a step, and no thread runs code."""
        while True:
            self._stepped = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            if not hold.busy():
                return
            await self._stepped.wait()

    def _send_active(self) -> None:
        self._notify = False
        self._channel.send(ACTIVE)
