"""The clients of `soak.py`: the requests that they send, and the responses that they get."""

from __future__ import annotations

import contextlib
import random
import struct
import time
from collections import Counter
from pathlib import Path

import trio

CLIENTS = 12
PAUSE = 0.04  # seconds between two requests of a client, on average, at a load of 1
TIMEOUT = 30.0  # seconds for a response

# The requests, how often each is sent, and its arguments.
REQUESTS = {
    "/count": (40, 0),
    "/cache": (20, 100),
    "/locked": (10, 0),
    "/signal": (10, 8),
    "/send": (8, 3),
    "/job": (4, 0),
    "/rpc": (8, 1000),
}


class Clients:
    """All clients, and their results: complete responses by version, and the numbers of counts and of locked counts.

    A request without an answer is lost, which is written down with the time; one with an answer that is not whole, or
    not the right one, is broken; and one that has none after `TIMEOUT` hangs.
    """

    def __init__(self, folder: Path, port: int, load: float) -> None:
        self.folder = folder
        self.versions: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.counted: list[int] = []
        self.locked: list[int] = []
        self.nodes: Counter[str] = Counter()  # errors of calls between members
        self.lost: list[tuple[float, str]] = []
        self.broken: list[str] = []
        self.hanging: list[str] = []
        self.calls = 0  # over the uwsgi socket
        self.calls_lost: list[tuple[float, str]] = []
        self._port = port
        self._pause = PAUSE / load
        self._ends = 0.0

    async def run(self, ends: float) -> None:
        """Send requests until this time."""
        self._ends = ends
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(self._be_client)
            nursery.start_soon(self._call_often)

    async def _be_client(self) -> None:
        while time.monotonic() < self._ends:
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                while time.monotonic() < self._ends:
                    await trio.sleep(random.uniform(0, 2 * self._pause))
                    (path,) = random.choices(list(REQUESTS), [often for often, _ in REQUESTS.values()])
                    if not await self._ask(stream, path):
                        break

    async def _ask(self, stream: trio.SocketStream, path: str) -> bool:
        """One request; is the connection kept?"""
        argument = str(random.randrange(REQUESTS[path][1]) + (path == "/signal")) if REQUESTS[path][1] else ""
        self.asked[path] += 1
        head = body = b""
        with trio.move_on_after(TIMEOUT) as patience:
            head, body = await exchange(stream, f"{path}?{argument}")
        if patience.cancelled_caught:
            self.hanging.append(path)
        elif not head:
            self.lost.append((time.monotonic(), path))
        else:
            self._take(path, argument, head, body)
        return bool(head) and b"connection: close" not in head.lower()

    def _take(self, path: str, argument: str, head: bytes, body: bytes) -> None:
        version, _, answer = body.decode().rpartition(";")
        if not head.startswith(b"HTTP/1.1 200") or version != ";".join([version.partition(";")[0]] * 50):
            self.broken.append(f"{path}: {head!r} {body!r}")
            return
        self.versions[version.partition(";")[0]] += 1
        if path == "/count":
            self.counted.append(int(answer))
        elif path == "/locked":
            self.locked.append(int(answer))
        elif path == "/rpc" and answer != str(2 * int(argument)):
            self.nodes[answer] += 1
        elif path == "/cache" and answer not in ("", argument * 50):
            self.broken.append(f"{path}: {answer}")

    async def ask_one(self, path: str) -> tuple[str, str]:
        """The response to one request on a new connection, and the version that sent it."""
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            _, body = await exchange(stream, path)
        version, *_, answer = body.decode().split(";")
        return version, answer

    async def _call_often(self) -> None:
        """Call over the uwsgi socket, as uWSGI does."""
        while time.monotonic() < self._ends:
            await trio.sleep(2.5 * self._pause)
            number = random.randrange(1000)
            self.calls += 1
            items = b"".join(struct.pack("<H", len(item)) + item for item in (b"double", b"%d" % number))
            data = b""
            with trio.move_on_after(TIMEOUT) as patience, contextlib.suppress(OSError, trio.BrokenResourceError):
                async with await trio.open_unix_socket(self.folder / "rpc.sock") as stream:
                    await stream.send_all(struct.pack("<BHB", 173, len(items), 0) + items)
                    data = b"".join([part async for part in stream])
            if patience.cancelled_caught:
                self.hanging.append("rpc")
            elif not data:
                self.calls_lost.append((time.monotonic(), "rpc"))
            elif data[4:] != b"%d" % (2 * number):  # behind a packet's head
                self.broken.append(f"rpc {number}: {data!r}")


async def exchange(stream: trio.SocketStream, path: str) -> tuple[bytes, bytes]:
    """Send a request; returns head and body, both empty if the connection ended without a complete response."""
    data = b""
    try:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while True:
            head, found, body = data.partition(b"\r\n\r\n")
            if found and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or b"0"):
                return head, body
            part = await stream.receive_some()
            if not part:
                return b"", b""
            data += part
    except trio.BrokenResourceError:
        return b"", b""
