"""A Starlette application, as it would be written for any server.

Shows      that a Starlette object is served as it is, with its lifespan, and that its endpoints are Trio tasks:
           they may use all of Trio.
Try it     pip install starlette
           python examples/hello_starlette.py
           curl http://127.0.0.1:8000/
           curl -N http://127.0.0.1:8000/count
Leaves out WebSocket endpoints; docs/guides/websocket.md has one.
"""

import contextlib
from collections.abc import AsyncIterator

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import trio_uwsgi


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    """Runs before the first request and after the last one; what it yields is every request's `state`."""
    yield {"greeting": "hello from Starlette\n"}


async def hello(request: Request) -> PlainTextResponse:
    """Say hello."""
    return PlainTextResponse(request.state.greeting)


async def count(request: Request) -> StreamingResponse:
    """Send five lines, one per second; each is sent as soon as it is made."""

    async def lines() -> AsyncIterator[str]:
        for number in range(1, 6):
            yield f"{number}\n"
            await trio.sleep(1)

    return StreamingResponse(lines(), media_type="text/plain")


app = Starlette(routes=[Route("/", hello), Route("/count", count)], lifespan=lifespan)

if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app)
