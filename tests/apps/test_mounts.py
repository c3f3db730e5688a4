"""Several applications under prefixes of the path: who gets a request, as what, and their lifespans."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002  # Starlette reads the annotation
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket  # noqa: TC002

from trio_uwsgi import Config, Registry, mount
from trio_uwsgi.errors import BootError, ConfigError
from trio_uwsgi.testing import WebSocketDenied, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


def flask_app(name: str) -> Any:
    """Says its name, where it is mounted, the path it sees, and its own URL."""
    app = flask.Flask(name)

    @app.get("/", defaults={"rest": ""})
    @app.get("/<path:rest>")
    def where(rest: str) -> list[str]:
        return [name, flask.request.script_root, flask.request.path, flask.url_for("where", rest="x")]

    return app


def starlette_app(name: str, events: list[str] | None = None, *, fail: str = "") -> Any:
    """The same, with a lifespan."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        if fail == "startup":
            raise ValueError("as asked")
        (events if events is not None else []).append(f"{name} up")
        yield {"name": name}
        (events if events is not None else []).append(f"{name} down")
        if fail == "shutdown":
            raise ValueError("as asked")

    async def where(request: Request) -> JSONResponse:
        path = request.scope["path"].removeprefix(request.scope["root_path"])
        own = request.url_for("where", rest="x").path
        return JSONResponse([request.state.name, request.scope["root_path"], path, own])

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.state.name + websocket.scope["root_path"])
        await websocket.close()

    return Starlette(
        routes=[Route("/{rest:path}", where, name="where"), WebSocketRoute("/ws", chat)], lifespan=lifespan
    )


@pytest.mark.parametrize("make", [flask_app, starlette_app])
async def test_the_longest_prefix_counts(make: Any, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Whole segments only; what is left is the path."""
    app = mount({"/shop": make("shop"), "": make("site"), "/shop/api": make("api")})
    async with open_runtime(app, registry=uwsgi_registry) as runtime:
        for path, expected in (
            ("/", ["site", "", "/", "/x"]),
            ("/shopping", ["site", "", "/shopping", "/x"]),
            ("/shop/", ["shop", "/shop", "/", "/shop/x"]),
            ("/shop/a", ["shop", "/shop", "/a", "/shop/x"]),
            ("/shop/api/b", ["api", "/shop/api", "/b", "/shop/api/x"]),
            ("/shop%2Fapi/c", ["api", "/shop/api", "/c", "/shop/api/x"]),
        ):
            assert expected == (await runtime.client.get(path)).json()


@pytest.mark.parametrize("make", [flask_app, starlette_app])
async def test_a_path_of_none(make: Any, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """It is not found."""
    async with open_runtime(mount({"/shop": make("shop")}), registry=uwsgi_registry) as runtime:
        response = await runtime.client.get("/other")
        assert (404, "no application is mounted here\n") == (response.status_code, response.text)


async def test_websockets(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """They are found in the same way."""
    async with open_runtime(mount({"/shop": starlette_app("shop")}), registry=uwsgi_registry) as runtime:
        async with runtime.websocket("/shop/ws") as ws:
            assert "shop/shop" == await ws.receive()
        with pytest.raises(WebSocketDenied):
            async with runtime.websocket("/ws"):
                pass  # pragma: no cover


async def test_lifespans(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """They start in the order of the prefixes, and end in reverse; one application may have none."""
    events: list[str] = []

    async def without(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert "http" == scope["type"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"here"})

    async def silent(scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Returns without a word."""

    app = mount(
        {
            "/bb": starlette_app("bb", events),
            "/a": starlette_app("a", events),
            "/none": without,
            "/silent": silent,
        }
    )
    async with open_runtime(app, Config(lifespan="on"), registry=uwsgi_registry) as runtime:
        assert "here" == (await runtime.client.get("/none")).text
        assert ["a up", "bb up"] == events
    assert ["a up", "bb up", "bb down", "a down"] == events


async def test_a_startup_that_fails(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Is a failed start; what had started before it ends in order."""
    events: list[str] = []
    app = mount({"/a": starlette_app("a", events), "/bb": starlette_app("bb", events, fail="startup")})
    with pytest.raises(BootError, match="as asked"):
        async with open_runtime(app, registry=uwsgi_registry):
            pass  # pragma: no cover
    assert ["a up", "a down"] == events


async def test_a_shutdown_that_fails(
    autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Is logged; the others end all the same."""
    events: list[str] = []
    app = mount({"/a": starlette_app("a", events), "/bb": starlette_app("bb", events, fail="shutdown")})
    async with open_runtime(app, registry=uwsgi_registry, allow_failures=True):
        pass
    assert ["a up", "bb up", "bb down", "a down"] == events
    assert "the application's shutdown failed" in caplog.text


@pytest.mark.parametrize(
    ("apps", "error"),
    [
        ({}, "no application is mounted"),
        ({"shop": flask_app("x")}, "'shop' is not a prefix of a path"),
        ({"/shop/": flask_app("x")}, "'/shop/' is not a prefix of a path"),
        ({"/": flask_app("x")}, "'/' is not a prefix of a path"),
        ({"/a//b": flask_app("x")}, "'/a//b' is not a prefix of a path"),
        ({"/a": flask_app("x"), "/b": starlette_app("y")}, "mounted together"),
        ({"/a": 7}, "it cannot be called"),
    ],
)
def test_mounts_that_are_refused(apps: dict[str, Any], error: str) -> None:
    """Before anything starts."""
    with pytest.raises(ConfigError, match=error):
        mount(apps)
