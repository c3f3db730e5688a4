"""Clients of streams that never end, which read every byte: did each stream end where it may end?

`python -m tests.real.stream_clients 500 5` runs 500 clients of event streams and 500 WebSockets through five reloads
and a SIGTERM, and prints how their streams ended.
"""

from __future__ import annotations

import itertools
import signal
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import trio

from tests.real.servers import Server, serving

__all__ = ["APP", "Crowd", "run"]

# An event every tenth of a second, of any size. Half of the event streams say goodbye when they are told.
APP = """
import itertools, random, trio
LOG = os.open("told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
numbers = itertools.count()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["path"] == "/hello":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
        return
    websocket = scope["type"] == "websocket"
    kind = "websocket" if websocket else "http.response"
    goodbye = next(numbers) % 2 and not websocket
    told = trio.Event()
    if websocket:
        await receive()
        await send({"type": "websocket.accept"})
    else:
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})

    async def listen():
        while True:
            message = await receive()
            if message["type"].endswith(".disconnect"):
                break
        os.write(LOG, f"{scope['type']} {message.get('code', '')}\\n".encode())
        told.set()
        if not goodbye:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        while not told.is_set():
            text = "x" * random.choice((1, 20, 125, 126, 3000, 70000 if random.random() < 0.02 else 5))
            if websocket:
                try:
                    await send({"type": "websocket.send", "text": text})
                except OSError:
                    break
            else:
                body = f"data: {text}\\n\\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    if goodbye:
        await send({"type": "http.response.body", "body": b"data: goodbye\\n\\n"})
"""

_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class _Bytes:
    """What a server sends, read exactly. `began`: there was a byte."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.began = False

    async def until(self, mark: bytes) -> bytes:
        """Up to and with `mark`. Raises EOFError if the connection ends first; its text says where."""
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        return self._take(at + len(mark))

    async def exactly(self, count: int) -> bytes:
        """So many bytes; EOFError as in `until`."""
        while len(self._buffer) < count:
            await self._more()
        return self._take(count)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _more(self) -> None:
        try:
            data = await self._stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise EOFError("inside" if self._buffer else "between")
        self.began = True
        self._buffer += data

    async def end(self) -> None:
        """The connection ends, and nothing comes before that."""
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:
            data = b"(reset)"
        if data or self._buffer:
            raise EOFError("after")


class Crowd:
    """Clients that connect again when their stream has ended, until the server is gone.

    `ends` counts how streams ended: "event stream whole", "websocket 1012", or where a stream was cut. `streaming`
    counts those that have had an event since the last end; `slowest` is the longest time from `mark` to an end, and
    `left` has the clients whose stream has not ended since.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.ends: Counter[str] = Counter()
        self.streaming = 0
        self.slowest = {"event stream": 0.0, "websocket": 0.0}
        self.left: set[tuple[str, int]] = set()
        self._marked = 0.0

    def mark(self, clients: set[tuple[str, int]]) -> None:
        """Now the server is told to stop or reload."""
        self._marked = trio.current_time()
        self.slowest = dict.fromkeys(self.slowest, 0.0)
        self.left = clients

    async def client(self, kind: str, number: int) -> None:
        """One client; returns when no server listens."""
        while True:
            try:
                stream = await trio.open_unix_socket(self._path)
            except OSError:
                return
            async with stream:
                how = await (self._read_events(stream) if kind == "event stream" else self._read_frames(stream))
            if how != "refused":
                self.ends[f"{kind} {how}"] += 1
                self.slowest[kind] = max(self.slowest[kind], trio.current_time() - self._marked)
                self.left.discard((kind, number))

    async def _read_events(self, stream: trio.SocketStream) -> str:
        data = _Bytes(stream)
        streams = False
        try:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await data.until(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head, head
            while size := int(await data.until(b"\r\n"), 16):
                self.streaming += not streams
                streams = True
                event = await data.exactly(size + 2)
                assert event.startswith(b"data: "), event
                assert event.endswith(b"\n\n\r\n"), event
            assert b"\r\n" == await data.exactly(2)
            await data.end()
        except (EOFError, trio.BrokenResourceError) as error:
            return f"cut: {error}" if data.began else "refused"
        finally:
            self.streaming -= streams
        return "whole"

    async def _read_frames(self, stream: trio.SocketStream) -> str:
        data = _Bytes(stream)
        streams = False
        try:
            await stream.send_all(_HANDSHAKE)
            head = await data.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            while True:
                first, size = await data.exactly(2)
                if size >= 126:
                    form, count = ("!H", 2) if size == 126 else ("!Q", 8)
                    (size,) = struct.unpack(form, await data.exactly(count))
                payload = await data.exactly(size)
                if first == 0x88:
                    break
                assert (0x81, b"") == (first, payload.strip(b"x"))
                self.streaming += not streams
                streams = True
            await stream.send_all(b"\x88\x82\0\0\0\0" + payload[:2])
            await data.end()
        except (EOFError, trio.BrokenResourceError) as error:
            return f"cut: {error}" if data.began else "refused"
        finally:
            self.streaming -= streams
        return str(int.from_bytes(payload[:2], "big"))

    async def wait_streaming(self, count: int) -> None:
        """Wait until so many have had an event."""
        with trio.fail_after(60):
            while self.streaming < count:  # noqa: ASYNC110  # there is no event for it
                await trio.sleep(0.02)


async def run(server: Server, crowd: Crowd, clients: int, reloads: int) -> list[dict[str, float]]:
    """Run so many clients of each kind through reloads and a SIGTERM; gives the slowest ends of each step."""
    slowest = []
    everyone = set(itertools.product(crowd.slowest, range(clients)))
    async with trio.open_nursery() as nursery:
        for client in everyone:
            nursery.start_soon(crowd.client, *client)
        for step in range(reloads + 1):
            await crowd.wait_streaming(2 * clients)
            crowd.mark(set(everyone))
            server.process.send_signal(signal.SIGHUP if step < reloads else signal.SIGTERM)
            with trio.fail_after(120):
                while crowd.left:  # noqa: ASYNC110  # there is no event for it
                    await trio.sleep(0.02)
            slowest.append(crowd.slowest)
        with trio.fail_after(60):
            code = await trio.to_thread.run_sync(server.process.wait, 60)
        assert 0 == code
    return slowest


def _main(clients: int, reloads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with serving(path, APP, "processes", "--mercy", "10", "--disable-logging") as server:
            server.wait_for("http on")
            crowd = Crowd(server.socket)
            slowest = trio.run(run, server, crowd, clients, reloads)
            told = Counter((path / "told").read_text().splitlines())
            for step, seconds in enumerate(slowest):
                print("reload" if step < reloads else "stop", {kind: round(last, 2) for kind, last in seconds.items()})
            print("ends as clients saw them:", dict(crowd.ends))
            print("told, as the application saw it:", dict(told))
            print(server.said if "ERROR" in server.said or "WARNING" in server.said else "no warning in the log")


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
