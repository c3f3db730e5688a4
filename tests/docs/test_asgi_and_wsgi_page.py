"""What docs/reference/asgi_and_wsgi.md lists is what applications get."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.docs.blocks import ROOT
from trio_uwsgi import Config
from trio_uwsgi._apps.wsgi_exchange import JOINED
from trio_uwsgi._http.limits import HIGH_WATER, WHOLE_BODY
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio_uwsgi import Registry

PAGE = (ROOT / "docs" / "reference" / "asgi_and_wsgi.md").read_text()


def keys_below(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    section = PAGE.partition(f"### {heading}")[2].partition("\n### ")[0]
    cells = [line.split("|")[1] for line in section.partition("\n\n|")[2].partition("\n\n")[0].splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


async def test_the_scope_has_the_keys_of_the_table(autojump_clock: trio.abc.Clock, uwsgi_registry: Registry) -> None:
    """No key of a request's scope is missing on the page, and none is there that does not exist."""
    seen: Notes[Any] = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        seen.append((sorted(scope), scope["asgi"]))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with open_runtime(app, Config(lifespan="off"), registry=uwsgi_registry) as runtime:
        await runtime.client.get("/")
    ((keys, version),) = seen
    assert keys_below("The scope of a request") | {"type"} == set(keys)
    assert {"version": "3.0", "spec_version": "2.4"} == version
    assert str(version).replace("'", '"') in PAGE


async def test_send_after_the_end(autojump_clock: trio.abc.Clock, uwsgi_registry: Registry) -> None:
    """`receive` reports the end of the response, and `send` after it raises LocalProtocolError."""
    seen: Notes[Any] = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})
        seen.append([(await receive())["type"] for _ in range(2)])
        with pytest.raises(LocalProtocolError):
            await send({"type": "http.response.body"})

    async with open_runtime(app, Config(lifespan="off"), registry=uwsgi_registry) as runtime:
        await runtime.client.get("/")
        await trio.sleep(1)
    assert [["http.disconnect"] * 2] == list(seen)


async def test_send_after_a_disconnect(autojump_clock: trio.abc.Clock, uwsgi_registry: Registry) -> None:
    """A stream whose client has disconnected ends at its first or second `send`, which raises; that is no failure."""
    seen: Notes[Any] = Notes()
    began = trio.current_time()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        try:
            while True:
                await trio.sleep(10)
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
        except ClientDisconnected as error:
            seen.append((isinstance(error, OSError), trio.current_time() - began < 21))
            raise

    async with open_runtime(app, Config(lifespan="off"), registry=uwsgi_registry) as runtime:
        async with runtime.client.stream("GET", "/") as response:
            assert 200 == response.status_code
        await trio.sleep(30)
    assert [(True, True)] == list(seen)


@pytest.mark.parametrize(("config", "expected"), [(Config(workers=2), 1), (Config(workers=2, placement="process"), 2)])
async def test_lifespans(
    config: Config, expected: int, autojump_clock: trio.abc.Clock, uwsgi_registry: Registry
) -> None:
    """Where members are tasks there is one lifespan, where they are processes one for each worker."""
    started: Notes[int] = Notes()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert ["asgi", "state", "type"] == sorted(scope)
        await receive()
        started.append(1)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with open_runtime(app, config, registry=uwsgi_registry):
        await trio.sleep(1)
    assert expected == len(started)


@pytest.mark.parametrize("arrived", [True, False])
async def test_the_environ_has_the_keys_of_the_table(
    arrived: bool, autojump_clock: trio.abc.Clock, uwsgi_registry: Registry
) -> None:
    """No key of an environ is missing on the page, and none is there that does not exist; one depends on whether the
    body has arrived.
    """
    size, sent = (1, 1) if arrived else (WHOLE_BODY + 1, HIGH_WATER + 1)
    seen: list[set[str]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append({re.sub("^HTTP_.*", "HTTP_...", key) for key in environ})
        start_response("200 OK", [])
        return []

    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
    async with open_runtime(app, registry=uwsgi_registry) as runtime, runtime.connect() as stream:
        await stream.send_all(head.encode() + bytes(sent))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    missing = set() if arrived else {"wsgi.input_terminated"}
    assert [keys_below("The environ") - missing] == seen


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(), (False, False)),
        (Config(workers=2), (True, False)),
        (Config(threads=2), (True, False)),
        (Config(workers=2, placement="process"), (False, True)),
        (Config(workers=2, placement="process", threads=2), (True, True)),
    ],
)
async def test_multithread_and_multiprocess(
    config: Config, expected: tuple[bool, bool], autojump_clock: trio.abc.Clock, uwsgi_registry: Registry
) -> None:
    """The values are those of the page's second table."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [repr((environ["wsgi.multithread"], environ["wsgi.multiprocess"])).encode()]

    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        assert repr(expected) == (await runtime.client.get("/")).text


@pytest.mark.parametrize(
    ("size", "chunked", "expected"),
    [
        (0, False, ("BytesIO", "0", True)),
        (1000, True, ("BytesIO", "1000", True)),
        (65_536, False, ("BytesIO", "65536", True)),
        (1_000_000, False, ("BodyReader", "1000000", True)),
        (2_000_000, False, ("BodyReader", "2000000", None)),
        (1_000_000, True, ("BodyReader", None, True)),
    ],
)
async def test_bodies(
    size: int,
    chunked: bool,
    expected: tuple[str, str | None, bool | None],
    autojump_clock: trio.abc.Clock,
    uwsgi_registry: Registry,
) -> None:
    """A usual body, or a small chunked one, is there when the application is called; others are read as they arrive."""
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        source = environ["wsgi.input"]
        seen.append((type(source).__name__, environ.get("CONTENT_LENGTH"), environ.get("wsgi.input_terminated")))
        start_response("200 OK", [])
        return [b"%d" % len(source.read())]

    async def pieces() -> Any:
        for _ in range(size // 1000):
            yield b"x" * 1000

    async with open_runtime(app, registry=uwsgi_registry) as runtime:
        response = await runtime.client.post("/", content=pieces() if chunked else b"x" * size)
        assert str(size) == response.text
    assert [expected] == seen


def test_sizes() -> None:
    """The page's sizes are those of the sources."""
    assert (64 * 1024, 256 * 1024) == (HIGH_WATER, JOINED)
