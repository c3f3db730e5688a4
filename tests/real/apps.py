"""Unmodified applications of the two frameworks that the tests serve for real. `flask_app` and `starlette_app` answer
the same paths.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import flask
import starlette.applications
import starlette.requests
import starlette.responses
import starlette.routing

PIECE = bytes(65536)

flask_app = flask.Flask(__name__)


@flask_app.get("/")
def hello() -> str:
    """A small answer."""
    return "hello"


@flask_app.post("/up")
def up() -> str:
    """Count the body's bytes without keeping them."""
    count = 0
    while piece := flask.request.stream.read(65536):
        count += len(piece)
    return str(count)


@flask_app.get("/down/<int:pieces>")
def down(pieces: int) -> flask.Response:
    """Stream so many pieces of 64 KiB."""

    def stream() -> Iterator[bytes]:
        for _ in range(pieces):
            yield PIECE

    return flask.Response(stream(), mimetype="application/octet-stream")


async def starlette_hello(request: starlette.requests.Request) -> starlette.responses.Response:
    """A small answer."""
    return starlette.responses.PlainTextResponse("hello")


async def starlette_up(request: starlette.requests.Request) -> starlette.responses.Response:
    """Count the body's bytes without keeping them."""
    count = 0
    async for piece in request.stream():
        count += len(piece)
    return starlette.responses.PlainTextResponse(str(count))


async def starlette_down(request: starlette.requests.Request) -> starlette.responses.Response:
    """Stream so many pieces of 64 KiB."""
    pieces: int = request.path_params["pieces"]

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield PIECE

    return starlette.responses.StreamingResponse(stream(), media_type="application/octet-stream")


starlette_app = starlette.applications.Starlette(
    routes=[
        starlette.routing.Route("/", starlette_hello),
        starlette.routing.Route("/up", starlette_up, methods=["POST"]),
        starlette.routing.Route("/down/{pieces:int}", starlette_down),
    ]
)
