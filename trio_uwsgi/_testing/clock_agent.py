"""Stays beside a member whose time another process moves: says when it is idle, and when it has to wake.

The other side, and the theory, are in `clock_coordinator.py`. Messages over the socket between the two:

    a name           the first one: the member's
    ASK, an answer   how many steps the tasks here have taken, and the earliest deadline, once all are idle
    TELL, WOKEN    say when a task has taken a step since the last answer: nobody will ask
    a connection     a descriptor, and whose it is: for a worker

On a clock of its own the member is asked nothing, and its heart beats as in production.
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

__all__ = ["ANSWER", "ASK", "TELL", "WOKEN", "ClockAgent"]

ASK, TELL, WOKEN = b"?", b"~", b"!"
ANSWER = struct.Struct("qd")  # never of the length of the others
_LONGEST = 4096


class ClockAgent(trio.abc.Instrument):
    """The companion of the member of this process.

    Args:
        address: where the conductor listens.
    """

    def __init__(self, address: bytes) -> None:
        self._address = address
        self._channel: socket.socket
        self._mine: set[trio.lowlevel.Task] = set()  # tasks whose steps are no activity
        self._steps = 0  # of all others
        self._answered = -1  # how many it were
        self._to_tell = False
        self._woken = trio.Event()
        self._asked = trio.Event()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self._mine:
            return
        self._steps += 1
        self._woken.set()
        if self._to_tell:
            self._tell()

    async def run_heartbeat(self, heart: HeartbeatLoop) -> None:
        """Stay beside the member, until cancelled, or until the other end has gone."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as self._channel, hold_clock() as hold:
            self._channel.connect(self._address)
            self._channel.send(heart.member.name.encode())
            self._channel.setblocking(False)
            trio.lowlevel.add_instrument(self)
            try:
                async with trio.open_nursery() as nursery:
                    if hold is None:
                        nursery.start_soon(beat, heart)
                    else:
                        nursery.start_soon(self._answer, heart, hold)
                    await self._listen(heart)
                    nursery.cancel_scope.cancel()
            finally:
                trio.lowlevel.remove_instrument(self)
                heart.note()

    async def _listen(self, heart: HeartbeatLoop) -> None:
        self._mine.add(trio.lowlevel.current_task())
        while True:
            await trio.lowlevel.wait_readable(self._channel)
            message, descriptors, _, _ = socket.recv_fds(self._channel, _LONGEST, 1)
            if not message:
                return
            if descriptors:
                connection = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptors[0]))
                heart.member_factory.workers[heart.member.name].take(
                    trio.SocketStream(connection), pickle.loads(message)
                )
            elif message == ASK:
                self._asked.set()
            elif self._steps != self._answered:
                self._tell()
            else:
                self._to_tell = True

    async def _answer(self, heart: HeartbeatLoop, hold: ClockHold) -> None:
        self._mine.add(trio.lowlevel.current_task())
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            self._to_tell = False
            await self._come_to_rest(hold)
            if self._steps != self._answered:
                self._answered = self._steps
                heart.beat()
            left = trio.lowlevel.current_statistics().seconds_to_next_deadline
            due = math.inf if left == math.inf else trio.current_time() + left
            self._channel.send(ANSWER.pack(self._steps, due))

    async def _come_to_rest(self, hold: ClockHold) -> None:
        """Wait until no task can take a step, and no thread runs code."""
        while True:
            self._woken = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            if not hold.busy():
                return
            await self._woken.wait()

    def _tell(self) -> None:
        self._to_tell = False
        self._channel.send(WOKEN)
