"""An HTTP service without the rest of a runtime, and clients that speak to it over memory streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import h11
import pytest
import trio
from trio.testing import memory_stream_pair

from trio_uwsgi._apps.asgi import AsgiDriver
from trio_uwsgi._apps.static_driver import with_static_files
from trio_uwsgi._apps.wsgi_inline import InlineDriver
from trio_uwsgi._apps.wsgi_threads import WsgiDriver
from trio_uwsgi._http.connection import serve_stream
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.options import HttpOptions
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.service import HttpService
from trio_uwsgi._nodes.server import PacketDriver
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi.config.connections import HttpTimeouts, LoadLimits, WebSocketOptions
from trio_uwsgi.config.options import AccessRules

if TYPE_CHECKING:
    from trio_uwsgi._units.heartbeat import Heartbeat
    from trio_uwsgi.config.static import StaticOptions

PEER = Peer(client=("192.0.2.1", 4711), server=("192.0.2.2", 80), scheme="http")


class Remembering:
    """A journal that remembers what happened; a strict one also raises what failed."""

    remembers = True

    def __init__(self, strict: bool = False) -> None:
        self.notes: list[str] = []
        self.failures: list[BaseException] = []
        self._strict = strict

    def note(self, member: str, what: str) -> None:
        self.notes.append(what)

    def failed(self, member: str, what: str, error: BaseException) -> None:
        self.failures.append(error)
        if self._strict:
            raise error


@dataclasses.dataclass
class Answer:
    """A whole response, as h11 read it."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """The other end of a connection: `send` bytes, and read responses with h11 or as they come."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.server_end: Narrow | None = None
        self.unread = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def close(self) -> None:
        await self.stream.aclose()

    async def receive(self) -> bytes:
        """What comes next, `b""` at the end."""
        try:
            return bytes(await self.stream.receive_some(65536))
        except trio.BrokenResourceError:
            return b""

    async def read_all(self) -> bytes:
        """Everything until the server ends the connection."""
        data, self.unread = self.unread, b""
        while more := await self.receive():
            data += more
        return data

    async def response(self, method: str = "GET") -> Answer:
        """The next response. Bytes after it are kept for the next call."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        answer = Answer(0, {}, b"")
        pieces: list[bytes] = []
        if self.unread:
            parser.receive_data(self.unread)
            self.unread = b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await self.receive())
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                pieces.append(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.unread = parser.trailing_data[0]
                answer.body = b"".join(pieces)
                return answer

    async def get(self, path: str = "/", *headers: str) -> Answer:
        await self.send("".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: x", *headers, "")).encode())
        return await self.response()


class Narrow(trio.abc.HalfCloseableStream):
    """A stream that takes `room` bytes of output and then waits, as a socket does whose client does not read."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, room: int) -> None:
        self._stream = stream
        self._room = room
        self.more = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._room < len(data):
            await self.more.wait()
        self._room -= len(data)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def open_wide(self) -> None:
        self._room = 1 << 30
        self.more.set()


class Whole(trio.abc.Stream):
    """A stream whose sending side cannot be shut alone."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class World:
    """One service that runs, and what its journal remembers."""

    def __init__(self, nursery: trio.Nursery, service: HttpService, journal: Remembering, threads: ThreadPool) -> None:
        self.nursery = nursery
        self.service = service
        self.journal = journal
        self.threads = threads

    client = Client

    def connect(self, narrow: int = 0, peer: Peer = PEER) -> Client:
        """A new client. `narrow`: the server's output waits after so many bytes; -1: it cannot be half closed."""
        here, there = memory_stream_pair()
        client = Client(here)
        stream: trio.abc.Stream = there
        if narrow > 0:
            client.server_end = stream = Narrow(there, narrow)
        elif narrow < 0:
            stream = Whole(there)
        self.nursery.start_soon(serve_stream, self.service, stream, peer)
        return client


Opener = Callable[..., Awaitable[World]]


@pytest.fixture
def open_http(nursery: trio.Nursery) -> Opener:
    """Start a service for an application in the test's nursery: `world = await open_http(app, harakiri=30)`."""

    async def open_service(
        app: Any,
        *,
        interface: Literal["asgi", "wsgi"] = "asgi",
        harakiri: float = 0,
        strict: bool = False,
        threads: int = 2,
        heartbeat: Heartbeat | None = None,
        socket_timeout: float = 60,
        max_body: int = 0,
        max_message: int = 1 << 20,
        access_log: bool = False,
        cancel_on_disconnect: bool = False,
        max_connections: int = 0,
        static: StaticOptions | None = None,
        proxy_protocol: tuple[str, ...] = (),
        nursery: trio.Nursery = nursery,
    ) -> World:
        journal = Remembering(strict)
        member = Member("worker", 1, Registry(), journal, lambda: 1_000_000_000 + trio.current_time())
        options = HttpOptions(
            limits=Limits(max_header_size=1000, max_headers=20, max_body=max_body),
            timeouts=HttpTimeouts(header=15, keep_alive=75, socket=socket_timeout),
            websocket=WebSocketOptions(ping_interval=20, ping_timeout=20, max_message=max_message, deflate=True),
            access_log=access_log,
            cancel_on_disconnect=cancel_on_disconnect,
            load=LoadLimits(connections=max_connections),
            static=static,
            proxy_protocol=proxy_protocol,
        )
        member.heartbeat = heartbeat
        pool = ThreadPool(threads or 1, "test")
        if interface == "asgi":
            driver: Any = AsgiDriver(app, {"from": "lifespan"})
        elif not threads:
            driver = InlineDriver(app, multiprocess=False)
        else:
            await nursery.start(pool.serve)
            driver = WsgiDriver(app, pool, multithread=threads > 1, multiprocess=False)
        calls = Calls(member, harakiri)
        driver = with_static_files(driver, static)
        service = HttpService(driver, PacketDriver(AccessRules.parse({}), calls), calls, options)
        await nursery.start(service.serve)
        return World(nursery, service, journal, pool)

    return open_service
