"""Proxies in front: what an application and the log get of a request, in every mode."""

from __future__ import annotations

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
