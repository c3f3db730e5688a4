"""The end of what never ends: streams are told, members learn of a stop, load balancers have time to notice it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi.errors import NotServing
from trio_uwsgi.testing import Notes, RuntimeUnderTest, WebSocketClosed, open_runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.requests import Request
    from trio.testing import MockClock

    from trio_uwsgi._apps.asgi_exchange import Receive, Send

Scope = dict[str, Any]
HEAD = "GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
END = b"0\r\n\r\n"


async def streams(scope: Scope, receive: Receive, send: Send) -> None:
    """An event each second, for as many seconds as the path says; its first word says what follows `http.disconnect`.

    `/sse` and `/return` return, `/raise` raises, `/end` ends the body, `/go-on` and `/sized` go on; `/late` goes on
    too, and begins after 5 seconds. A WebSocket receives, and notes the end.
    """
    if scope["type"] == "websocket":
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.accept"})
        return
    _, kind, count = scope["path"].split("/")
    told = trio.Event()

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()
        if kind in ("sse", "return"):
            nursery.cancel_scope.cancel()

    headers = {"sse": EVENT_STREAM, "sized": [(b"content-length", b"%d" % (2 * int(count)))]}.get(kind, [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.sleep(5 if kind == "late" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(int(count)):
            await send({"type": "http.response.body", "body": b"%d\n" % (number % 10), "more_body": True})
            if told.is_set() and kind in ("raise", "end"):
                break
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    if kind == "raise":
        raise OSError("the client is gone")
    if kind not in ("sse", "return"):
        await send({"type": "http.response.body", "body": b"told" if told.is_set() and kind != "sized" else b""})


class Stream:
    """A client that reads a response to its end."""

    def __init__(self, runtime: RuntimeUnderTest, path: str) -> None:
        self.path = path
        self.body = b""
        self.cut = False
        self.ended = 0.0
        self._stream = runtime.connect()

    async def read(self) -> None:
        """Be the client."""
        async with self._stream as stream:
            await stream.send_all((HEAD % self.path).encode())
            try:
                while data := await stream.receive_some(65536):
                    self.body += data
                    if self.body.endswith(END):
                        break
            except trio.BrokenResourceError:
                self.cut = True
        self.ended = trio.current_time()

    @property
    def whole(self) -> bool:
        """Did it end as a response in chunks does?"""
        return self.body.endswith(END) and not self.cut


@all_placements
@pytest.mark.parametrize(
    ("path", "stop_streams", "ends", "last"),
    [
        ("/sse/60", None, 10.5, b"\n\r\n0\r\n\r\n"),  # half the mercy; the server sends the end of the body
        ("/sse/60", 3, 3.5, b"\n\r\n0\r\n\r\n"),
        ("/sse/60", 0, 0.5, b"\n\r\n0\r\n\r\n"),
        ("/end/60", 3, 4, b"told\r\n0\r\n\r\n"),  # the application sends it, after its next event
        ("/return/60", 3, 3.5, b"\n\r\n"),  # an application that only returns has not sent the whole body
        ("/raise/60", 3, 4, b"\n\r\n"),
        ("/go-on/8", None, 8, b"\n\r\n0\r\n\r\n"),  # it ends by itself, before it is told
        ("/go-on/16", 3, 16, b"told\r\n0\r\n\r\n"),  # it is told, and goes on
        ("/sized/16", 3, 16, b"5\n"),  # its end is announced, so it is not told
        ("/late/9", 3, 14, b"told\r\n0\r\n\r\n"),  # its response begins when it is time already
    ],
)
async def test_a_stream_is_told(
    placement: Placement,
    path: str,
    stop_streams: float | None,
    ends: float,
    last: bytes,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
) -> None:
    """`receive` returns `http.disconnect` when it is time; what the application does then is its own decision."""
    config = Config(lifespan="off", placement=placement, mercy=20, stop_streams=stop_streams)
    began = trio.current_time()
    async with open_runtime(streams, config, registry=uwsgi_registry) as runtime, trio.open_nursery() as nursery:
        client = Stream(runtime, path)
        nursery.start_soon(client.read)
        await trio.sleep(0.5)
        runtime.stop()
        await runtime.runtime._tree.ended.wait()
    assert last == client.body[-len(last) :]
    assert ends == round(client.ended - began, 3)


async def ticks(request: Request) -> StreamingResponse:
    """A stream of Starlette, which asks whether its client is there."""

    async def lines() -> AsyncIterator[str]:
        while not await request.is_disconnected():
            yield "tick\n"
            await trio.sleep(1)
        yield "told\n"

    return StreamingResponse(lines())


@all_placements
async def test_a_stream_of_starlette(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """`request.is_disconnected()` becomes true, and Starlette sends the rest and the end of the body."""
    app = Starlette(routes=[Route("/", ticks)])
    began = trio.current_time()
    config = Config(placement=placement, mercy=20)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime, trio.open_nursery() as nursery:
        client = Stream(runtime, "/")
        nursery.start_soon(client.read)
        await trio.sleep(0.5)
        runtime.stop()
        await runtime.runtime._tree.ended.wait()
    assert client.body.endswith(b"5\r\ntick\n\r\n5\r\ntold\n\r\n0\r\n\r\n")
    assert 11 == round(client.ended - began, 3)


@all_placements
async def test_over_the_uwsgi_protocol(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A front server sees the end of an event stream, too."""
    config = Config(lifespan="off", placement=placement, mercy=20)
    pairs = [(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/sse/60"), (b"SERVER_PROTOCOL", b"HTTP/1.1")]
    received = b""
    async with open_runtime(streams, config, registry=uwsgi_registry) as runtime:
        async with runtime.connect("uwsgi") as stream:
            await stream.send_all(encode_packet(0, 0, encode_vars(pairs)))
            await trio.sleep(0.5)
            runtime.stop()
            while data := await stream.receive_some(65536):
                received += data
        await runtime.runtime._tree.ended.wait()
    assert 11 == received.count(b"\n") - 3  # those of the head, and an event each second


@all_placements
async def test_websockets_wait_for_their_time(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """With `stop_streams` they are closed later; one that is opened meanwhile is closed at the same time."""
    config = Config(lifespan="off", placement=placement, mercy=20, stop_streams=7, workers=1)
    began = trio.current_time()
    async with open_runtime(streams, config, registry=uwsgi_registry) as runtime, runtime.websocket("/") as ws:
        await trio.sleep(1)
        runtime.stop()
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert (1001, 8) == (caught.value.code, round(trio.current_time() - began))


@all_placements
async def test_a_worker_that_is_removed_says_that_others_serve(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Its WebSockets are closed with 1012, its event streams end, and those of the other worker go on."""
    config = Config(lifespan="off", placement=placement, mercy=20, workers=2, stop_streams=2)
    async with open_runtime(streams, config, registry=uwsgi_registry) as runtime, trio.open_nursery() as nursery:
        clients = [Stream(runtime, "/sse/60") for _ in range(2)]
        for client in clients:
            nursery.start_soon(client.read)
        async with runtime.websocket("/") as one, runtime.websocket("/") as other:
            await trio.sleep(0.5)
            began = trio.current_time()
            runtime.runtime.remove_worker()
            codes = []
            for ws in (one, other):
                with trio.move_on_after(4):
                    try:
                        await ws.receive()
                    except WebSocketClosed as closed:
                        codes.append((closed.code, trio.current_time() - began < 5))
            assert [(1012, True)] == codes
            assert [True, False] == sorted((client.whole for client in clients), reverse=True)
        runtime.stop()
    assert all(client.whole for client in clients)


def generator(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
    """A WSGI application that streams until it is to stop."""
    start_response("200 OK", [])
    while not uwsgi.stopping():
        yield b"."
        trio.from_thread.run(trio.sleep, 1)
    yield b"told"


@all_placements
async def test_a_wsgi_stream_asks(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A generator in a thread sees `uwsgi.stopping()` change, and ends its body."""
    config = Config(placement=placement, mercy=20, threads=1)
    began = trio.current_time()
    async with open_runtime(generator, config, registry=uwsgi_registry) as runtime, trio.open_nursery() as nursery:
        client = Stream(runtime, "/")
        nursery.start_soon(client.read)
        await trio.sleep(2.5)
        runtime.stop()
    assert client.body.endswith(b"4\r\ntold\r\n0\r\n\r\n")
    assert 3 == round(client.ended - began, 3)


@all_placements
async def test_every_member_learns_of_a_stop(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, tmp_path: Any
) -> None:
    """Handlers, programs and jobs see it at once, whichever member runs them; outside of members nothing stops."""
    notes: Notes[tuple[str, bool, float]] = Notes()
    began = trio.current_time()

    async def wait(who: str) -> None:
        before = uwsgi.stopping()
        await uwsgi.wait_stopping()
        notes.append((who, before is False and uwsgi.stopping(), round(trio.current_time() - began, 3)))
        await uwsgi.wait_stopping()  # at once

    @uwsgi_registry.signal_handler(1, target="worker1")
    async def in_worker(signum: int) -> None:
        await wait("worker")

    @uwsgi_registry.mule(1)
    async def program() -> None:
        await wait("program")
        await trio.sleep_forever()

    @uwsgi_registry.signal_handler(2, target="mule2")
    def in_thread(signum: int) -> None:
        trio.from_thread.run(wait, "thread")

    @uwsgi_registry.spooler
    async def job(job: uwsgi.Job) -> int:
        await wait("job")
        return uwsgi.SPOOL_OK

    config = Config(mules=2, spooler=str(tmp_path), placement=placement, lifespan="off")
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await runtime.spool({"a": "b"})
        await trio.sleep(3)
        assert not uwsgi.stopping()
        with pytest.raises(NotServing, match=r"uwsgi.wait_stopping\(\) was called outside of a running member"):
            await uwsgi.wait_stopping()
    assert [(who, True, 3) for who in ("job", "program", "thread", "worker")] == sorted(notes)


async def health(scope: Scope, receive: Receive, send: Send) -> None:
    """A health check beside a view that takes 2 seconds."""
    if scope["path"] == "/slow":
        await trio.sleep(2)
    status = 503 if scope["path"] == "/health" and uwsgi.stopping() else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@all_placements
async def test_a_delay_before_the_stop(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """For `drain_delay` seconds everything is served, and the health check says 503; then the mercy begins."""
    config = Config(placement=placement, drain_delay=5, mercy=3, lifespan="off")
    began = trio.current_time()
    async with open_runtime(health, config, registry=uwsgi_registry) as runtime:
        assert [200, 200] == [(await runtime.client.get(path)).status_code for path in ("/health", "/")]
        runtime.stop()
        assert runtime.runtime.stopping
        await trio.sleep(4)
        assert [503, 200] == [(await runtime.client.get(path)).status_code for path in ("/health", "/")]
        assert 200 == (await runtime.client.get("/slow")).status_code  # it has a second of the delay and the mercy
        await runtime.runtime._tree.ended.wait()
    assert 6 == round(trio.current_time() - began, 3)


@all_placements
async def test_a_member_that_starts_during_the_delay_knows(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A worker that dies is replaced, and the new one is told."""
    config = Config(placement=placement, drain_delay=100, lifespan="off")
    async with open_runtime(health, config, registry=uwsgi_registry) as runtime:
        await trio.sleep(60)  # so that it is restarted at once
        runtime.stop()
        await trio.sleep(1)
        runtime.kill("worker1")
        await trio.sleep(5)
        assert 503 == (await runtime.client.get("/health")).status_code
