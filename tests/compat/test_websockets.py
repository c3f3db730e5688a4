"""WebSockets of the module `uwsgi`: WSGI applications that talk to their client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask
import pytest
import trio

from tests.compat.modes import Enter, Mode, all_modes, config_in
from trio_uwsgi import Cache, Config
from trio_uwsgi.testing import WebSocketClosed, WebSocketDenied, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def config_of(mode: Mode, **more: Any) -> Config:
    """With a cache, in which the application keeps what it is told."""
    return config_in(mode, caches=[Cache("c", items=10)], **more)


def echoing(uwsgi: Any) -> Callable[..., Iterable[bytes]]:
    """An application that sends each message back, as text if it is UTF-8; `end` ends it, `fail` fails, and `slow`
    takes a time limit of 5 seconds and waits. `/why` has the last error that it got.
    """

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/why":
            start_response("200 OK", [])
            return [uwsgi.cache_get("why") or b""]
        uwsgi.websocket_handshake(environ["HTTP_SEC_WEBSOCKET_KEY"], environ.get("HTTP_ORIGIN", ""))
        try:
            while (message := uwsgi.websocket_recv()) != b"end":
                if message == b"fail":
                    raise ValueError("as asked")
                if message == b"slow":
                    uwsgi.set_user_harakiri(5)
                elif message.startswith(b"\xff"):
                    uwsgi.websocket_send_binary(message)
                else:
                    uwsgi.websocket_send(message)
        except OSError as error:
            uwsgi.cache_update("why", str(error))
            raise
        return []

    return app


@all_modes
async def test_messages(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """Texts and bytes go both ways, compressed or not; the return of the application closes with 1000."""
    uwsgi = enter(config_of(mode))
    async with open_runtime(echoing(uwsgi), config_of(mode)) as runtime:
        for deflate in (True, False):
            async with runtime.websocket("/", deflate=deflate, headers=[(b"origin", b"http://x")]) as ws:
                assert [(b"sec-websocket-origin", b"http://x")] == ws.headers
                for message in ("text ä", b"\xff\x00", "", "x" * 300_000):
                    await ws.send(message)
                    assert message == await ws.receive()
                await ws.send("end")
                with pytest.raises(WebSocketClosed) as caught:
                    await ws.receive()
                assert 1000 == caught.value.code


@all_modes
async def test_the_client_closes(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """The application gets an OSError with uWSGI's text and the code; if it lets that pass, it has not failed."""
    uwsgi = enter(config_of(mode))
    async with open_runtime(echoing(uwsgi), config_of(mode)) as runtime:
        async with runtime.websocket("/") as ws:
            assert 4001 == (await ws.close(4001, "enough")).code
        await trio.sleep(1)
        why = "unable to receive websocket message: the WebSocket is closed: 4001 enough"
        assert why == (await runtime.client.get("/why")).text


@all_modes
async def test_a_stop_is_told(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """At a stop both sides get 1001 at once, and the application ends."""
    uwsgi = enter(config_of(mode))
    async with open_runtime(echoing(uwsgi), config_of(mode)) as runtime, runtime.websocket("/") as ws:
        await ws.send("x")
        assert "x" == await ws.receive()
        began = trio.current_time()
        runtime.stop()
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert (1001, 0) == (caught.value.code, round(trio.current_time() - began))


@all_modes
async def test_a_worker_that_is_removed(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """Where others serve, as at a reload, both sides get 1012; the WebSocket of the other worker stays."""
    config = config_of(mode, workers=2)
    uwsgi = enter(config)
    async with (
        open_runtime(echoing(uwsgi), config) as runtime,
        runtime.websocket("/") as one,
        runtime.websocket("/") as other,
    ):
        runtime.runtime.remove_worker()
        codes = []
        for ws in (one, other):
            with trio.move_on_after(5):
                try:
                    await ws.receive()
                except WebSocketClosed as closed:
                    codes.append(closed.code)
        assert [1012] == codes


@all_modes
async def test_pings(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """A client that answers stays for an hour, beyond the time limit of requests; one that does not is dropped."""
    more = {"websocket_ping_interval": 30, "websocket_ping_timeout": 10, "harakiri": 20}
    uwsgi = enter(config_of(mode))
    async with open_runtime(echoing(uwsgi), config_of(mode, **more)) as runtime:
        async with runtime.websocket("/") as ws:
            await trio.sleep(4000)
            await ws.send("x")
            assert "x" == await ws.receive()
            await ws.send("end")
        async with runtime.connect() as stream:
            began = trio.current_time()
            await stream.send_all(HANDSHAKE)
            while data := await stream.receive_some(1000):
                if data == b"\x89\x00":
                    assert 30 == round(trio.current_time() - began)
            assert 40 == round(trio.current_time() - began)


@all_modes
@pytest.mark.parametrize("what", ["fail", "slow"])
async def test_failures(mode: Mode, what: str, enter: Enter, autojump_clock: MockClock) -> None:
    """An exception, and a time limit that the application sets, close with 1011."""
    uwsgi = enter(config_of(mode))
    async with (
        open_runtime(echoing(uwsgi), config_of(mode), allow_failures=True) as runtime,
        runtime.websocket("/") as ws,
    ):
        await ws.send(what)
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert 1011 == caught.value.code


@all_modes
async def test_without_waiting(mode: Mode, enter: Enter, autojump_clock: MockClock) -> None:
    """`websocket_recv_nb` returns b"" until there is a message, which arrives during another wait."""
    uwsgi = enter(config_in(mode))

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        uwsgi.websocket_handshake()
        uwsgi.websocket_send(repr(uwsgi.websocket_recv_nb()))
        uwsgi.async_sleep(10)
        uwsgi.suspend()
        uwsgi.websocket_send(uwsgi.websocket_recv_nb())
        return []

    async with open_runtime(app, config_in(mode)) as runtime, runtime.websocket("/") as ws:
        assert "b''" == await ws.receive()
        began = trio.current_time()
        await ws.send("hello")
        assert "hello" == await ws.receive()
        assert 10 == round(trio.current_time() - began)


async def test_handshakes(enter: Enter, autojump_clock: MockClock) -> None:
    """A subprotocol is one that the client offers, the key is the request's, and the request asks for a WebSocket."""
    config = Config(threads=1)
    uwsgi = enter(config)

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        arguments = {"/none": (), "/second": ("", "", "b"), "/other": ("", b"", b"c"), "/key": ("abc",), "/twice": ()}
        try:
            if environ["PATH_INFO"] == "/early":
                uwsgi.websocket_recv()
            uwsgi.websocket_handshake(*arguments[environ["PATH_INFO"]])
            if environ["PATH_INFO"] == "/twice":
                uwsgi.websocket_handshake()
        except OSError as error:
            if environ["PATH_INFO"] == "/twice":
                uwsgi.websocket_send(str(error))
                return []
            start_response("400 Bad Request", [])
            return [str(error).encode()]
        return []

    async with open_runtime(app, config) as runtime:
        for path, chosen in (("/none", "a"), ("/second", "b")):
            async with runtime.websocket(path, subprotocols=["a", "b"]) as ws:
                assert chosen == ws.subprotocol
        for path, reason in (("/other", b"'c'"), ("/key", b"'abc'"), ("/early", b"call uwsgi.websocket_handshake")):
            with pytest.raises(WebSocketDenied) as caught:
                async with runtime.websocket(path, subprotocols=["a", "b"]):
                    pass
            assert caught.value.body.startswith(b"unable to ")
            assert reason in caught.value.body
        async with runtime.websocket("/twice") as ws:
            assert str(await ws.receive()).endswith("the response of this request has begun")
        text = (await runtime.client.get("/none")).text
        assert text.startswith("unable to complete websocket handshake: this request asks for no WebSocket")


async def test_elsewhere(enter: Enter) -> None:
    """Where there is no request, the error says where the call belongs."""
    uwsgi = enter(Config())
    for call in (uwsgi.websocket_handshake, uwsgi.websocket_recv, uwsgi.websocket_recv_nb):
        with pytest.raises(RuntimeError, match="call it in the code of a WSGI request"):
            call()
    with pytest.raises(RuntimeError, match="call it in the code of a WSGI request"):
        uwsgi.websocket_send("x")


async def test_raw_bytes_and_bodies(enter: Enter, autojump_clock: MockClock) -> None:
    """A WebSocket has messages alone: `recv` is refused, and so is text that is none; a body is a failure."""
    uwsgi = enter(Config(threads=1))

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        uwsgi.websocket_handshake()
        uwsgi.websocket_send(repr(uwsgi.recv(uwsgi.connection_fd())))
        try:
            uwsgi.websocket_send(b"\xff")
        except UnicodeDecodeError as error:
            uwsgi.websocket_send(type(error).__name__)
        return [b"body"]

    config = Config(threads=1)
    async with open_runtime(app, config, allow_failures=True) as runtime, runtime.websocket("/") as ws:
        assert "UnicodeDecodeError" == (await ws.receive(), await ws.receive())[1]
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert 1011 == caught.value.code


async def test_flask(enter: Enter, autojump_clock: MockClock) -> None:
    """A view as people write it: it talks until the client closes, and returns "" otherwise."""
    uwsgi = enter(Config(threads=1))
    app = flask.Flask(__name__)

    @app.route("/chat", websocket=True)
    def chat() -> str:
        uwsgi.websocket_handshake(flask.request.environ["HTTP_SEC_WEBSOCKET_KEY"])
        while (message := uwsgi.websocket_recv()) != b"bye":
            uwsgi.websocket_send(b"you said " + message)
        return ""

    async with open_runtime(app, Config(threads=1)) as runtime, runtime.websocket("/chat") as ws:
        await ws.send("hello")
        assert "you said hello" == await ws.receive()
        await ws.send("bye")
        with pytest.raises(WebSocketClosed) as caught:
            await ws.receive()
        assert 1000 == caught.value.code
