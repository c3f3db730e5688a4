"""An application under a prefix: what it sees of its path and of its own URLs, however the proxy in front does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002  # Starlette reads the annotation
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket  # noqa: TC002

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, mount
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


def flask_app() -> Any:
    """Says the prefix and the path that it sees, and its own URL, whose encoding is a framework's own."""
    app = flask.Flask(__name__)

    @app.get("/", defaults={"rest": ""})
    @app.get("/<path:rest>")
    def where(rest: str) -> list[str]:
        return [
            flask.request.script_root,
            flask.request.path,
            unquote(flask.url_for("where", rest=rest, _external=True)),
        ]

    return app


def starlette_app() -> Any:
    """The same. Its raw path has to be that of its path."""

    async def where(request: Request) -> JSONResponse:
        scope = request.scope
        path = scope["path"].removeprefix(scope["root_path"])
        own = unquote(str(request.url_for("where", rest=request.path_params["rest"])))
        assert scope["path"] == unquote(scope["raw_path"].decode())
        return JSONResponse([scope["root_path"], path, own])

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"{websocket.scope['root_path']} {websocket.scope['path']}")
        await websocket.close()

    return Starlette(routes=[WebSocketRoute("/ws", chat), Route("/{rest:path}", where, name="where")])


APPS = {"flask": flask_app, "starlette": starlette_app}
SITE = "http://testserver"
SHOP: dict[str, Any] = {"root_path": "/shop"}
KEPT: dict[str, Any] = {"root_path": "/shop", "manage_script_name": True}
MANAGED: dict[str, Any] = {"manage_script_name": True}
TRUSTING: dict[str, Any] = {"forwarded_allow": "loopback", "forwarded_headers": ["x-forwarded-prefix"]}
PREFIX = {"X-Forwarded-Prefix": "/shop"}

# what is set, what the proxy says, the path that arrives; prefix, path and URL as the application sees them
HTTP: list[tuple[dict[str, Any], dict[str, str], str, list[str]]] = [
    ({}, {}, "/a", ["", "/a", "/a"]),
    ({}, PREFIX, "/a", ["", "/a", "/a"]),
    # the proxy removes the prefix
    (SHOP, {}, "/a", ["/shop", "/a", "/shop/a"]),
    (SHOP, {}, "/", ["/shop", "/", "/shop/"]),
    (SHOP, {}, "/a%20b", ["/shop", "/a b", "/shop/a b"]),
    (SHOP, {}, "/shop/a", ["/shop", "/shop/a", "/shop/shop/a"]),
    (TRUSTING, PREFIX, "/a", ["/shop", "/a", "/shop/a"]),
    (TRUSTING, {}, "/a", ["", "/a", "/a"]),
    ({**TRUSTING, "root_path": "/other"}, PREFIX, "/a", ["/shop", "/a", "/shop/a"]),
    ({**TRUSTING, "root_path": "/other"}, {}, "/a", ["/other", "/a", "/other/a"]),
    # it leaves the prefix there
    (KEPT, {}, "/shop/a", ["/shop", "/a", "/shop/a"]),
    (KEPT, {}, "/shop/", ["/shop", "/", "/shop/"]),
    (KEPT, {}, "/shop/a%20b", ["/shop", "/a b", "/shop/a b"]),
    (KEPT, {}, "/shopping", ["/shop", "/shopping", "/shop/shopping"]),
    (KEPT, {}, "/health", ["/shop", "/health", "/shop/health"]),
    ({**TRUSTING, **MANAGED}, PREFIX, "/shop/a", ["/shop", "/a", "/shop/a"]),
    ({**TRUSTING, **MANAGED}, PREFIX, "/shop/a%20b", ["/shop", "/a b", "/shop/a b"]),
    ({**TRUSTING, **MANAGED}, PREFIX, "/a", ["/shop", "/a", "/shop/a"]),
    (MANAGED, {}, "/a", ["", "/a", "/a"]),
    # other letters
    ({"root_path": "/caf\u00e9"}, {}, "/a", ["/caf\u00e9", "/a", "/caf\u00e9/a"]),
    ({"root_path": "/caf\u00e9", **MANAGED}, {}, "/caf%C3%A9/a", ["/caf\u00e9", "/a", "/caf\u00e9/a"]),
]

# what is set, the modifier, SCRIPT_NAME (None: not sent), PATH_INFO, REQUEST_URI; as above
PACKETS: list[tuple[dict[str, Any], int, str | None, str, str, list[str]]] = [
    ({}, 0, None, "/a", "/a", ["", "/a", "/a"]),
    # nginx with `uwsgi_param SCRIPT_NAME /shop`, and a `rewrite` that removes it from $document_uri
    ({}, 0, "/shop", "/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    # nginx with `uwsgi_param SCRIPT_NAME /shop` alone
    ({}, 30, "/shop", "/shop/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (MANAGED, 0, "/shop", "/shop/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (MANAGED, 30, "/shop", "/shop/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (MANAGED, 0, "/shop/", "/shop/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (MANAGED, 0, "/shop", "/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    # nginx with neither, as `uwsgi_params` are
    (SHOP, 0, None, "/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (SHOP, 0, "", "/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (KEPT, 0, None, "/shop/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (KEPT, 0, "", "/shop/a", "/shop/a", ["/shop", "/a", "/shop/a"]),
    (KEPT, 0, "/other", "/other/a", "/other/a", ["/other", "/a", "/other/a"]),
]


def expected(seen: list[str]) -> list[str]:
    """With the host in the URL."""
    return [seen[0], seen[1], SITE + seen[2]]


@pytest.mark.parametrize("name", APPS)
@pytest.mark.parametrize(("options", "headers", "path", "seen"), HTTP)
async def test_over_http(
    name: str,
    options: dict[str, Any],
    headers: dict[str, str],
    path: str,
    seen: list[str],
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
) -> None:
    """Prefix, path and URL are right, whether the proxy removes the prefix or not."""
    async with open_runtime(APPS[name](), Config(**options), registry=uwsgi_registry) as runtime:
        answer = await runtime.client.get(path, headers=headers)
        assert (200, expected(seen)) == (answer.status_code, answer.json())


async def ask(runtime: RuntimeUnderTest, modifier: int, found: Mapping[str, str | None]) -> Any:
    """The JSON that is answered to a packet of these vars."""
    pairs = [(name.encode(), value.encode()) for name, value in found.items() if value is not None]
    answer = b""
    async with runtime.connect("uwsgi") as stream:
        await stream.send_all(encode_packet(modifier, 0, encode_vars(pairs)))
        while data := await stream.receive_some():
            answer += data
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("name", APPS)
@pytest.mark.parametrize(("options", "modifier", "script_name", "path", "uri", "seen"), PACKETS)
async def test_over_the_uwsgi_protocol(
    name: str,
    options: dict[str, Any],
    modifier: int,
    script_name: str | None,
    path: str,
    uri: str,
    seen: list[str],
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
) -> None:
    """The same, with what nginx sends."""
    found = {"SCRIPT_NAME": script_name, "PATH_INFO": path, "REQUEST_URI": uri, "HTTP_HOST": "testserver"}
    async with open_runtime(APPS[name](), Config(**options), registry=uwsgi_registry) as runtime:
        assert expected(seen) == await ask(runtime, modifier, found)


@all_placements
@pytest.mark.parametrize("name", APPS)
async def test_with_mounts(
    name: str, placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """The prefix of a mounted application comes after that of the proxy. One that a front server has taken off the path
    names an application, too.
    """
    make = APPS[name]
    app = mount({"": make(), "/api": make()})
    config = Config(placement=placement, **KEPT)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        for path, seen in (
            ("/shop/a", ["/shop", "/a", "/shop/a"]),
            ("/shop/api/a", ["/shop/api", "/a", "/shop/api/a"]),
            ("/api/a", ["/shop/api", "/a", "/shop/api/a"]),
        ):
            assert expected(seen) == (await runtime.client.get(path)).json()
        host = {"HTTP_HOST": "testserver"}
        found = {"SCRIPT_NAME": "/api", "PATH_INFO": "/api/a", "REQUEST_URI": "/api/a", **host}
        assert expected(["/api", "/a", "/api/a"]) == await ask(runtime, 30, found)
        assert expected(["/api", "/a", "/api/a"]) == await ask(runtime, 0, found)


@pytest.mark.parametrize(("options", "path"), [(SHOP, "/ws"), (KEPT, "/shop/ws"), (KEPT, "/ws")])
async def test_websockets(
    options: dict[str, Any], path: str, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A WebSocket's scope is the same."""
    config = Config(**options)
    async with open_runtime(starlette_app(), config, registry=uwsgi_registry) as runtime, runtime.websocket(path) as ws:
        assert "/shop /shop/ws" == await ws.receive()


@pytest.mark.parametrize("threads", [None, 2])
async def test_a_path_that_is_only_the_prefix(
    threads: int | None, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Leaves an empty PATH_INFO, as in WSGI."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    async with open_runtime(app, Config(threads=threads, **KEPT), registry=uwsgi_registry) as runtime:
        assert ["/shop|", "/shop|/"] == [(await runtime.client.get(path)).text for path in ("/shop", "/shop/")]
