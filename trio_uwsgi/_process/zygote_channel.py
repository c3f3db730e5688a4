"""The channel between the master and a zygote: a socket for frames, and for descriptors beside them.

`ZygoteChannel` is the master's end, which uses Trio. The zygote's end, without Trio, is in `zygote.py`; what both ends
need is here. How descriptors are assigned to frames is in `zygote_frames.py`.
"""

from __future__ import annotations

import array
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence

import trio

from trio_uwsgi._process.zygote_frames import ZygoteFrame, ZygoteFrameReader
from trio_uwsgi.errors import UwsgiError

__all__ = ["ANCILLARY", "ANSWER", "READ_SIZE", "ZygoteChannel", "ZygoteDied", "close_all", "descriptors_of"]

logger = logging.getLogger("trio_uwsgi")

READ_SIZE = 65536
# Most descriptors that the kernel passes with one message (SCM_MAX_FD).
_MAX_DESCRIPTORS = 253
ANCILLARY = socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)

# In seconds. A zygote that works reads a frame and answers a fork within milliseconds, or tens of them where the
# application has gigabytes. One that takes longer is stopped or stuck, and is given up.
ANSWER = 10.0


class ZygoteDied(UwsgiError):
    """The zygote has ended. Its children keep running; another zygote has to fork new ones."""


def descriptors_of(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came with a message."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            whole = memoryview(data[: len(data) // 4 * 4]).cast("i")
            found += whole
    return found


def close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class ZygoteChannel:
    """Frames and descriptors over the socket to a zygote."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self._reader = ZygoteFrameReader()
        self._frames: deque[tuple[ZygoteFrame, list[int]]] = deque()
        self._turn = trio.Lock()

    async def send(self, data: bytes, descriptors: Sequence[int] = (), *, first: bytes = b"") -> None:
        """Send the whole frame, also when cancelled: after half a frame the channel would be useless. `first` is sent
        before it, and apart from it: what reads that would drop descriptors which come beside it.

        Raises:
            ZygoteDied: the zygote has ended or does not read.
        """
        try:
            with trio.move_on_after(ANSWER, shield=True) as whole:
                async with self._turn:
                    if first:
                        await self._send(memoryview(first), ())
                    await self._send(memoryview(data), descriptors)
        except (OSError, trio.ClosedResourceError) as error:
            raise ZygoteDied("the zygote has ended") from error
        if whole.cancelled_caught:
            self.close()
            raise ZygoteDied(f"the zygote did not read for {ANSWER:g} s")

    async def _send(self, data: memoryview, descriptors: Sequence[int]) -> None:
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = await self._socket.sendmsg([data], beside)
        while sent < len(data):
            sent += await self._socket.send(data[sent:])

    async def receive(self) -> tuple[ZygoteFrame, list[int]] | None:
        """The next frame, and its descriptors, which the caller has to close. None: the zygote has ended."""
        while not self._frames:
            try:
                data, ancillary, _, _ = await self._socket.recvmsg(READ_SIZE, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
                self._frames += self._reader.feed(data, descriptors_of(ancillary))
            except (OSError, trio.ClosedResourceError):
                return None
            except ValueError as error:  # descriptors are missing, because this process has no free ones
                logger.error("closing the connection to the zygote, because its data is incomplete: %s", error)
                self.close()
                return None
            if not data:
                return None
        return self._frames.popleft()

    def finish(self) -> None:
        """Close the sending direction, as if the master had ended. What the zygote still sends can be received."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()
        for _, descriptors in self._frames:
            close_all(descriptors)
        close_all(self._reader.unclaimed)
        self._frames.clear()
        self._reader.unclaimed.clear()
