"""Early hints, trailers, the limit of concurrent requests, and unusual methods, through the whole runtime."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import greenback
import h11
import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi.errors import LocalProtocolError, NotServing
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trio.testing import MockClock

    from trio_uwsgi._apps.asgi_exchange import Receive, Send

Scope = dict[str, Any]
LINKS = [b"</a.css>; rel=preload; as=style", b"</b.js>; rel=preload; as=script"]
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: %b\r\nlink: %b\r\n\r\n" % tuple(LINKS)


async def talk(runtime: RuntimeUnderTest, data: bytes, protocol: Any = "http") -> bytes:
    """Send a request, and read until the server closes."""
    received = b""
    async with runtime.connect(protocol) as stream:
        await stream.send_all(data)
        try:
            while more := await stream.receive_some(65536):
                received += more
        except trio.BrokenResourceError:
            received += b"(reset)"
    return received


def get(path: str = "/", method: str = "GET", version: str = "1.1", headers: str = "") -> bytes:
    """A request that ends the connection."""
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode()


def packet(method: str = "GET", path: str = "/", protocol: str = "HTTP/1.1") -> bytes:
    """The same over the uwsgi protocol."""
    pairs = {"REQUEST_METHOD": method, "PATH_INFO": path, "SERVER_PROTOCOL": protocol}
    return encode_packet(0, 0, encode_vars([(name.encode(), value.encode()) for name, value in pairs.items()]))


# ----- early hints


async def hinting(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends hints, and a second later the response; `/late` sends them in the response, `/bad` bad ones."""
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
    links = [b"\r\n"] if scope["path"] == "/bad" else LINKS
    try:
        await send({"type": "http.response.early_hint", "links": links})
    except LocalProtocolError as error:
        if scope["path"] == "/late":
            await send({"type": "http.response.body", "body": str(error).encode()})
            return
        raise
    await trio.sleep(1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send(
        {
            "type": "http.response.body",
            "body": repr(
                sorted({"http.response.early_hint", "http.response.trailers"} & set(scope["extensions"]))
            ).encode(),
        }
    )


@all_placements
async def test_early_hints_of_asgi(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """They arrive before the response, at clients of HTTP/1.1; the others get the response only."""
    config = Config(lifespan="off", placement=placement, early_hints=True)
    async with open_runtime(hinting, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        async with runtime.connect() as stream:
            began = trio.current_time()
            await stream.send_all(get())
            assert HINTS == await stream.receive_some(65536)
            assert began == pytest.approx(trio.current_time())
            rest = bytes(await stream.receive_some(65536))
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
        assert rest.endswith(b"['http.response.early_hint', 'http.response.trailers']")
        old = await talk(runtime, get(version="1.0"))
        assert (b"HTTP/1.1 200 OK", b"[]") == (old[:15], old[-2:])
        assert b"HTTP/1.1 200 OK\r\n\r\n[]" == await talk(runtime, packet(), "uwsgi")
        late = await talk(runtime, get("/late"))
        assert b"early hints come before the response, which has begun" in late
        assert (await talk(runtime, get("/bad"))).startswith(b"HTTP/1.1 500 ")


@all_placements
async def test_early_hints_that_are_not_offered(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Without the option the extension is not in the scope, and hints that are sent all the same are dropped."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(hinting, config, registry=uwsgi_registry) as runtime:
        answer = await talk(runtime, get())
        assert (b"HTTP/1.1 200 OK", b"\n['http.response.trailers']") == (answer[:15], answer[-27:])

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [repr("wsgi.early_hints" in environ).encode()]

    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        assert b"\nFalse" == (await talk(runtime, get()))[-6:]


def wsgi_hinting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The same in WSGI; `/twice` sends them twice, `/thread` in a thread of its own."""
    send = environ["wsgi.early_hints"]
    links = [("link", link.decode()) for link in LINKS]
    body = [b"Hello"]
    if environ["PATH_INFO"] == "/thread":

        def call() -> None:
            try:
                send(links)
            except NotServing as error:
                body[0] = str(error).encode()

        thread = threading.Thread(target=call)
        thread.start()
        thread.join(5)
    elif environ["PATH_INFO"] == "/late":
        start_response("200 OK", [])(b"a")
        try:
            send(links)
        except LocalProtocolError as error:
            body[0] = str(error).encode()
        return body
    elif environ["PATH_INFO"] == "/fails":
        send(links)
        raise ValueError("as asked")
    else:
        send(links)
        send([("Server-Timing", "db")])
    start_response("200 OK", [])
    return body


@all_placements
@pytest.mark.parametrize("threads", [None, 2])
async def test_early_hints_of_wsgi(
    placement: Placement, threads: int | None, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """In a thread and on Trio's own; an application that fails after them is answered with 500 all the same."""
    config = Config(placement=placement, threads=threads, early_hints=True)
    async with open_runtime(wsgi_hinting, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        answer = await talk(runtime, get())
        assert answer.startswith(HINTS + b"HTTP/1.1 103 Early Hints\r\nServer-Timing: db\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nHello")
        assert (await talk(runtime, get(version="1.0"))).startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"HTTP/1.1 200 OK\r\n\r\nHello" == await talk(runtime, packet(), "uwsgi")
        assert b"was called outside of a request" in await talk(runtime, get("/thread"))
        assert b"the response, which has begun" in await talk(runtime, get("/late"))
        assert (await talk(runtime, get("/fails"))).startswith(HINTS + b"HTTP/1.1 500 ")


# ----- trailers


async def trailing(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends trailers in two messages after a body; what the path says is wrong with it."""
    path = scope["path"]
    headers = [(b"Trailer", b"x-sum"), (b"content-type", b"text/plain")]
    headers += [(b"content-length", b"2")] * (path == "/sized")
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    if path == "/early":
        await send({"type": "http.response.trailers", "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})
    await trio.sleep(1)  # the client reads that before the connection is reset
    if path == "/again":
        await send({"type": "http.response.body", "body": b"c"})
    if path == "/none":
        return
    more = [(b"x-sum", b"195"), *[(b"content-length", b"7")] * (path == "/bad")]
    await send({"type": "http.response.trailers", "headers": more, "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-more", b"1")]})
    if path == "/after":
        await send({"type": "http.response.trailers", "headers": []})


def read(data: bytes) -> tuple[bytes, Sequence[tuple[bytes, bytes]], Sequence[tuple[bytes, bytes]]]:
    """What h11 makes of a response: its body, its headers, and its trailers."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h"), ("Connection", "close")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    body = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            headers = list(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
    return body, headers, list(event.headers)


@all_placements
async def test_trailers(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """They follow a body in chunks; other bodies end without them, and mistakes in their order show."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(trailing, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        body, headers, trailers = read(await talk(runtime, get()))
        assert (b"ab", [(b"x-sum", b"195"), (b"x-more", b"1")]) == (body, trailers)
        assert (b"trailer", b"x-sum") in headers
        for request in (get("/sized"), get(version="1.0")):
            body, headers, trailers = read(await talk(runtime, request))
            assert (b"ab", [], False) == (body, trailers, b"trailer" in dict(headers))
        assert b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nab" == await talk(runtime, packet(), "uwsgi")
        assert (await talk(runtime, get(method="HEAD"))).endswith(b"\r\n\r\n")
        for path in ("/again", "/bad", "/none"):  # the client sees that the end is missing
            answer = await talk(runtime, get(path))
            assert (b"1\r\nb\r\n", False) == (answer.removesuffix(b"(reset)")[-6:], b"\r\n0\r\n" in answer)
        assert (await talk(runtime, get("/early"))).startswith(b"HTTP/1.1 500 ")
        assert b"ab" == read(await talk(runtime, get("/after")))[0]


# ----- limits


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes as many seconds as the path says."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    await trio.sleep(float(scope["path"][1:] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def wsgi_slow(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The same in a thread or through greenback."""
    seconds = float(environ["PATH_INFO"][1:] or 0)
    if seconds and threading.current_thread() is not threading.main_thread():
        trio.from_thread.run(trio.sleep, seconds)
    elif seconds:
        greenback.await_(trio.sleep(seconds))  # noqa: ASYNC105  # greenback awaits it
    start_response("200 OK", [])
    return [b"done"]


@all_placements
@pytest.mark.parametrize(("app", "threads"), [(slow, None), (wsgi_slow, 4), (wsgi_slow, None)])
async def test_requests_beyond_the_limit(
    placement: Placement, app: object, threads: int | None, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """They are answered with 503 at once, on connections that stay open; later ones are served again."""
    config = Config(lifespan="off", placement=placement, threads=threads, max_concurrent_requests=2)
    async with (
        open_runtime(app, config, registry=uwsgi_registry) as runtime,
        trio.open_nursery() as nursery,
        runtime.connect() as stream,
    ):
        answers = []

        async def ask() -> None:
            answers.append((await runtime.client.get("/5")).status_code)

        for _ in range(2):
            nursery.start_soon(ask)
        await trio.sleep(1)
        refused = await runtime.client.get("/")
        assert (503, "1", "There are too many requests at the moment.\n") == (
            refused.status_code,
            refused.headers["retry-after"],
            refused.text,
        )
        assert (await talk(runtime, packet(), "uwsgi")).startswith(b"HTTP/1.1 503 ")
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        received = b""
        while received.count(b"HTTP/1.1 503 ") < 2000:
            received += await stream.receive_some(65536)
        await trio.sleep(10)  # with a single thread one of them waited, and counted
        assert [200, 200] == answers
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200 OK" == bytes(await stream.receive_some(15))
        assert 200 == (await runtime.client.get("/")).status_code


@all_placements
async def test_websockets_count_as_requests(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """While one is open it takes a place; a stop at the limit is as any other."""
    config = Config(lifespan="off", placement=placement, max_concurrent_requests=1)
    async with open_runtime(slow, config, registry=uwsgi_registry) as runtime:
        async with runtime.websocket("/"):
            assert 503 == (await runtime.client.get("/")).status_code
        assert 200 == (await runtime.client.get("/")).status_code
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.client.get, "/5")
            await trio.sleep(1)
            runtime.stop()


# ----- requests as uWSGI sees them


async def method_of(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the method and the Upgrade header."""
    upgrade = dict(scope["headers"]).get(b"upgrade", b"-")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["method"].encode() + b" " + upgrade})


def wsgi_method_of(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The same in WSGI."""
    start_response("200 OK", [])
    return [f"{environ['REQUEST_METHOD']} {environ.get('HTTP_UPGRADE', '-')}".encode()]


@all_placements
@pytest.mark.parametrize("app", [method_of, wsgi_method_of])
async def test_methods_and_upgrades(
    placement: Placement, app: object, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Any token is a method, over HTTP as over the uwsgi protocol; an upgrade to HTTP/2 is not taken up."""
    config = Config(lifespan="off", placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        for method in ("PROPFIND", "VERSION-CONTROL", "QUERY", "MKWORKSPACE", "get", "X", "a!#$%&'*+.^_`|~1"):
            expected = method.encode() + b" -"
            assert (await talk(runtime, get(method=method))).endswith(b"\r\n\r\n" + expected)
            assert (await talk(runtime, packet(method), "uwsgi")).endswith(b"\r\n\r\n" + expected)
        for method in ("A B", "(", "GÉT"):
            assert (await talk(runtime, get(method=method))).startswith(b"HTTP/1.1 400 ")
        upgrade = (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        )
        answer = await talk(runtime, upgrade + get())
        assert 2 == answer.count(b"HTTP/1.1 200 OK")
        assert b"GET h2c" in answer
