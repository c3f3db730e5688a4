"""WebSockets through the whole runtime, on mock time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError
from trio_uwsgi.testing import Notes, WebSocketClosed, WebSocketDenied, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_uwsgi._apps.asgi_exchange import Receive, Send

Scope = dict[str, Any]
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each message back; `close` closes, `fail` fails, `return` returns, `slow` waits for an hour."""
    assert "websocket" == scope["type"]
    assert {"type": "websocket.connect"} == await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (message := await receive())["type"] == "websocket.receive":
        match message["text"]:
            case "close":
                await send({"type": "websocket.close", "code": 4000, "reason": "as asked"})
            case "fail":
                raise ValueError("as asked")
            case "return":
                return
            case "slow":
                await trio.sleep(3600)
            case "limited":
                uwsgi.set_user_harakiri(5)
                await trio.sleep(3600)
            case _:
                await send({**message, "type": "websocket.send"})


@all_placements
async def test_messages_go_both_ways(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Text and bytes, small and large, compressed or not; the client closes, and the line in the log says 101."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime:
        for deflate in (False, True):
            async with runtime.websocket("/?a=b", subprotocols=["x", "y"], deflate=deflate) as ws:
                assert "x" == ws.subprotocol
                for data in ("", "grüß", b"\xff", "x" * 70_000, bytes(500_000)):
                    await ws.send(data)
                    assert data == await ws.receive()
                end = await ws.close(4001, "enough")
                assert (4001, "") == (end.code, end.reason)
        assert 2 == runtime.log.count("request GET /?a=b") or 2 == runtime.log.count("request GET /")


@all_placements
@pytest.mark.parametrize(("word", "code", "reason"), [("close", 4000, "as asked"), ("return", 1000, "")])
async def test_the_application_closes(
    placement: Placement, word: str, code: int, reason: str, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """With a code of its own, or by returning."""
    config = Config(lifespan="off", placement=placement)
    async with (
        open_runtime(echo, config, registry=uwsgi_registry) as runtime,
        runtime.websocket("/") as ws,
    ):
        await ws.send(word)
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert (code, reason) == (caught.value.code, caught.value.reason)
        with pytest.raises(WebSocketClosed):
            await ws.send("more")


@all_placements
async def test_an_application_that_fails(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """The client gets 1011, and the runtime goes on."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(echo, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        async with runtime.websocket("/") as ws:
            await ws.send("fail")
            with pytest.raises(WebSocketClosed) as caught:
                await ws.receive()
            assert 1011 == caught.value.code
        async with runtime.websocket("/") as ws:
            await ws.send("again")
            assert "again" == await ws.receive()


@all_placements
async def test_time_limits(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """`harakiri` limits the handshake, not what follows; `set_user_harakiri` limits what follows it."""
    config = Config(lifespan="off", placement=placement, harakiri=10)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime, runtime.websocket("/") as ws:
        await ws.send("slow")
        await trio.sleep(3601)
        await ws.send("after an hour")
        assert "after an hour" == await ws.receive()
        began = trio.current_time()
        await ws.send("limited")
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert (1011, 5) == (caught.value.code, round(trio.current_time() - began))


async def undecided(scope: Scope, receive: Receive, send: Send) -> None:
    """Does what the path says instead of accepting."""
    match scope["path"]:
        case "/close":
            await send({"type": "websocket.close"})
        case "/deny":
            start = {"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-a", b"b")]}
            await send(start)
            await send({"type": "websocket.http.response.body", "body": b"no"})
        case "/fail":
            raise ValueError("as asked")
        case "/slow":
            await trio.sleep(3600)
        case "/send":
            await send({"type": "websocket.send", "text": "x"})


@all_placements
@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/close", 403, b""),
        ("/deny", 418, b"no"),
        ("/fail", 500, b"Internal Server Error\n"),
        ("/return", 500, b"Internal Server Error\n"),
        ("/send", 500, b"Internal Server Error\n"),
        ("/slow", 504, b"Gateway Timeout\n"),
    ],
)
async def test_a_handshake_that_is_denied(
    placement: Placement, path: str, status: int, body: bytes, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """The client gets an ordinary response."""
    config = Config(lifespan="off", placement=placement, harakiri=10)
    async with open_runtime(undecided, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        with pytest.raises(WebSocketDenied) as caught:
            async with runtime.websocket(path):
                pass
        assert (status, body) == (caught.value.status, caught.value.body)


@task_placements("the test writes bytes by hand")
async def test_handshakes_that_no_application_sees(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """An old version is 426 with the one that is supported; a key that is none is 400."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime:
        for old, new, expected in (
            (b": 13", b": 8", b"HTTP/1.1 426 Upgrade Required\r\n"),
            (b"dGhl", b"", b"HTTP/1.1 400 Bad Request\r\n"),
        ):
            async with runtime.connect() as stream:
                await stream.send_all(HANDSHAKE.replace(old, new))
                answer = b"".join([bytes(piece) async for piece in stream])
                assert answer.startswith(expected)
                assert (b"sec-websocket-version: 13\r\n" in answer) == (old == b": 13")


@task_placements("the test writes bytes by hand")
async def test_a_client_that_is_gone(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Without a close frame the application gets 1006, after what was sent before; what it sends then is an error."""
    seen: Notes[str] = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep(1)
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message["text"])
        seen.append(str(message["code"]))
        try:
            await send({"type": "websocket.send", "text": "x"})
        except ClientDisconnected:
            seen.append("disconnected")
        assert "websocket.disconnect" == (await receive())["type"]

    config = Config(lifespan="off", placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime, runtime.connect() as stream:
        await stream.send_all(HANDSHAKE)
        await stream.receive_some(1000)
        await stream.send_all(b"\x81\x82\0\0\0\0ab")
        await stream.aclose()
        await trio.sleep(2)
        assert ["ab", "1006", "disconnected"] == list(seen)


@all_placements
async def test_a_close_after_the_clients(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """It does nothing; a second one, and a message, are errors, as is a second close of the application's own."""
    seen: Notes[str] = Notes()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/mine":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await send({"type": "websocket.send", "text": "x"})
            assert "websocket.disconnect" == (await receive())["type"]
            await send({"type": "websocket.close", "code": 1000})
            seen.append("closed")
        for message in ("websocket.close", "websocket.send"):
            try:
                await send({"type": message, "text": "x"})
            except ClientDisconnected:
                seen.append(message)

    config = Config(lifespan="off", placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        async with runtime.websocket("/") as ws:
            assert "x" == await ws.receive()
        await trio.sleep(1)
        assert ["closed", "websocket.close", "websocket.send"] == seen
        seen.clear()
        async with runtime.websocket("/mine") as ws:
            with pytest.raises(WebSocketClosed):
                await ws.receive()
        await trio.sleep(1)
        assert ["websocket.close", "websocket.send"] == seen


@all_placements
async def test_pings(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A client that answers stays for an hour, also while the application is busy; one that does not is dropped."""
    config = Config(lifespan="off", placement=placement, websocket_ping_interval=30, websocket_ping_timeout=10)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime:
        async with runtime.websocket("/") as ws:
            await ws.send("slow")
            await trio.sleep(4000)
            await ws.send("x")
            assert "x" == await ws.receive()
        async with runtime.connect() as stream:
            began = trio.current_time()
            await stream.send_all(HANDSHAKE)
            while data := await stream.receive_some(1000):
                if data == b"\x89\x00":
                    assert 30 == round(trio.current_time() - began)
            assert 40 == round(trio.current_time() - began)


@all_placements
async def test_a_stop_is_told(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """At a stop both sides get 1001 at once."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime, runtime.websocket("/") as ws:
        await ws.send("x")
        assert "x" == await ws.receive()
        began = trio.current_time()
        runtime.stop()
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert (1001, 0) == (caught.value.code, round(trio.current_time() - began))


@all_placements
async def test_back_pressure(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A client that sends more than the application reads is not read; nothing is lost."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await trio.sleep(10)
        total = 0
        for _ in range(100):
            await receive()  # connect, then 99 messages
            total += 1
        await send({"type": "websocket.send", "text": str(total)})

    config = Config(lifespan="off", placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime, runtime.websocket("/") as ws:
        for _ in range(99):
            await ws.send(bytes(10_000))
        assert "100" == await ws.receive()


@all_placements
async def test_starlette(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Its endpoints, and what they raise when the client closes, which is no failure."""

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_json({"said": await websocket.receive_text()})

    async def careful(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()

    app = Starlette(routes=[WebSocketRoute("/chat", chat), WebSocketRoute("/careful", careful)])
    config = Config(placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        async with runtime.websocket("/chat") as ws:
            await ws.send("hello")
            assert '{"said":"hello"}' == await ws.receive()
        async with runtime.websocket("/careful"):
            pass
        with pytest.raises(WebSocketDenied) as caught:
            async with runtime.websocket("/nowhere"):
                pass
        assert 403 == caught.value.status


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.accept"},
        {"type": "websocket.http.response.start", "status": 200},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": 999},
        {"type": "websocket.send"},
        {"type": "websocket.send", "bytes": "text"},
        {"type": "http.response.body"},
    ],
)
async def test_messages_that_are_not_allowed(
    message: dict[str, Any], autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Each is an error in the application, and the client gets 1011."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(LocalProtocolError):
            await send(message)
        await send(message)

    config = Config(lifespan="off")
    async with (
        open_runtime(app, config, registry=uwsgi_registry, allow_failures=True) as runtime,
        runtime.websocket("/") as ws,
    ):
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert 1011 == caught.value.code
