"""Proxies in front: what an application and the log get of a request, in every mode."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import flask
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002  # Starlette reads the annotation
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Registry
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

EVERYTHING = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix")
SENT = {
    "X-Forwarded-For": "6.6.6.6, 1.2.3.4",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example",
    "X-Forwarded-Prefix": "/shop",
}


def flask_app() -> Any:
    """An application that says who asks, and where it believes to be."""
    app = flask.Flask(__name__)

    @app.get("/where")
    def where() -> dict[str, str | None]:
        return {"client": flask.request.remote_addr, "url": flask.url_for("where", _external=True)}

    return app


def starlette_app() -> Any:
    """The same."""

    async def where(request: Request) -> JSONResponse:
        client = request.client.host if request.client else None
        return JSONResponse({"client": client, "url": str(request.url_for("where"))})

    return Starlette(routes=[Route("/where", where, name="where")])


@all_placements
@pytest.mark.parametrize("make", [flask_app, starlette_app])
async def test_a_trusted_proxy(
    make: Any, placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Client and URL are those that the proxy names; by default they are those of the connection."""
    for allow, headers, client, url in (
        ("127.0.0.0/8", EVERYTHING, "1.2.3.4", "https://shop.example/shop/where"),
        ("127.0.0.0/8", EVERYTHING[:2], "1.2.3.4", "https://testserver/where"),
        ("10.0.0.0/8", EVERYTHING, "127.0.0.1", "http://testserver/where"),
        ((), EVERYTHING, "127.0.0.1", "http://testserver/where"),
    ):
        config = Config(placement=placement, forwarded_allow=allow, forwarded_headers=headers)
        async with open_runtime(make(), config, registry=uwsgi_registry) as runtime:
            answer = (await runtime.client.get("/where", headers=SENT)).json()
            assert {"client": client, "url": url} == answer


# What strangers may say of themselves: each changes nothing.
_SAID = {
    "X-Forwarded-For": ("6.6.6.6", "127.0.0.1", "6.6.6.6, 127.0.0.1", "::1", "unknown", "'", ""),
    "X-Forwarded-Proto": ("https", "wss", "javascript", "https, https"),
    "X-Forwarded-Host": ("evil.example", "evil.example:1", "a, b", "user@evil.example"),
    "X-Forwarded-Port": ("1", "443", "9" * 5000, "-1"),
    "X-Forwarded-Prefix": ("/evil", "//evil.example", "/a/../b"),
    "Forwarded": (
        *("for=6.6.6.6", "for=127.0.0.1", "for=6.6.6.6;proto=https;host=evil.example", "for=6.6.6.6, for=127.0.0.1"),
        *('for="[::1]:80"', "for=_x", 'for="', "proto=https"),
    ),
    "X_Forwarded_For": ("6.6.6.6",),
    "X-Real-IP": ("6.6.6.6",),
    "X-Forwarded-Ssl": ("on",),
    "Front-End-Https": ("on",),
    "X-Forwarded-Scheme": ("https",),
    "Client-IP": ("6.6.6.6",),
    "Via": ("1.1 evil.example",),
    "Proxy": ("http://evil.example",),
}
FORGED = [(name, value) for name, values in _SAID.items() for value in values]
OF_THE_CLIENT = ("client", "scheme", "server", "root_path", "path", "raw_path", "type", "query_string")


@pytest.mark.parametrize("read", [EVERYTHING, ("forwarded",)])
async def test_what_strangers_say(read: Any, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Nothing of it reaches the facts of a request."""
    seen: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        seen.append({key: scope[key] for key in OF_THE_CLIENT})
        seen[-1]["client"] = scope["client"][0]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    config = Config(forwarded_allow=("10.0.0.0/8", "unix"), forwarded_headers=read)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        for headers in ([], *([header] for header in FORGED), list(FORGED[:25])):
            assert 200 == (await runtime.client.get("/where", headers=headers)).status_code
    assert [seen[0]] * len(seen) == seen


async def test_what_strangers_say_to_wsgi(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """The environ differs by the headers as they are, and by nothing else."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append({key: value for key, value in environ.items() if isinstance(value, str)})
        start_response("200 OK", [])
        return []

    config = Config(forwarded_allow="10.0.0.0/8", forwarded_headers=EVERYTHING)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        for header in (("Accept", "*/*"), *FORGED):
            await runtime.client.get("/where", headers=[header])
    for environ in seen:
        del environ["REMOTE_PORT"]
        for key in [key for key in environ if key.startswith("HTTP_") and key != "HTTP_HOST"]:
            del environ[key]
    assert [seen[0]] * len(seen) == seen


@pytest.mark.parametrize("allow", ["any", ()])
async def test_over_the_uwsgi_protocol(allow: Any, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """The front server's own variables count, whatever headers its client sends."""
    pairs = {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "shop.example", "REQUEST_SCHEME": "https", "PATH_INFO": "/where"}
    pairs |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in SENT.items()}
    packet = encode_packet(0, 0, encode_vars([(name.encode(), value.encode()) for name, value in pairs.items()]))
    config = Config(forwarded_allow=allow, forwarded_headers=EVERYTHING)
    for make in (flask_app, starlette_app):
        async with (
            open_runtime(make(), config, registry=uwsgi_registry) as runtime,
            runtime.connect("uwsgi") as stream,
        ):
            await stream.send_all(packet)
            answer = b"".join([bytes(data) async for data in stream])
        expected = {"client": "192.0.2.7", "url": "https://shop.example/where"}
        assert expected == json.loads(answer.partition(b"\r\n\r\n")[2])


async def test_the_log(autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """The access log begins with the client that was found."""
    caplog.set_level(logging.INFO)
    async with open_runtime(flask_app(), Config(forwarded_allow="loopback"), registry=uwsgi_registry) as runtime:
        await runtime.client.get("/where", headers=SENT)
    (line,) = (record.getMessage() for record in caplog.records if record.name == "trio_uwsgi.access")
    assert line.startswith('1.2.3.4 - "GET /where HTTP/1.1" 200 ')


@task_placements("the test writes bytes by hand")
async def test_the_proxy_protocol(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is that of the header, for all requests of the connection; one without a header is closed, which the
    log says without the status of an answer.
    """
    config = Config(placement=placement, proxy_protocol="loopback", header_timeout=5)
    request = b"GET /where HTTP/1.1\r\nHost: h\r\n\r\n"
    async with open_runtime(flask_app(), config, registry=uwsgi_registry) as runtime:
        async with runtime.connect() as stream:
            await stream.send_all(b"PROXY TCP4 1.2.3.4 10.0.0.9 5000 443\r\n" + request + request)
            answers = b""
            while answers.count(b"1.2.3.4") < 2:
                answers += await stream.receive_some(10_000)
        async with runtime.connect() as stream:
            await stream.send_all(request)
            assert b"" == await stream.receive_some(10_000)
        async with runtime.connect() as stream:
            began = trio.current_time()
            await stream.send_all(b"PROXY TCP4")
            assert b"" == await stream.receive_some(10_000)
            assert 5 == round(trio.current_time() - began)
    closed = [record.getMessage().partition(": ")[2] for record in caplog.records if record.levelname == "WARNING"]
    assert [
        "closed without an answer: the connection does not begin with a PROXY header",
        "closed without an answer: the request's head was not received in time",
    ] == closed
