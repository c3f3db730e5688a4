"""What the log says about code that timed out: the line at which it waited, and its callers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.paths.placements import Placement, all_placements, task_placements
from trio_uwsgi import Config, Registry
from trio_uwsgi._units.stuck import location
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from starlette.requests import Request
    from trio.testing import MockClock


async def query() -> None:
    """What all requests wait for."""
    await trio.sleep(1000)


async def load() -> None:
    """What calls it."""
    await query()


async def beside() -> None:
    """What a task beside it does."""
    await trio.sleep_forever()


async def awaits(request: Request) -> Response:
    await load()
    return PlainTextResponse("done")


async def in_a_child(request: Request) -> Response:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
    return PlainTextResponse("done")


async def in_a_grandchild(request: Request) -> Response:
    async with anyio.create_task_group() as group:
        group.start_soon(beside)
        group.start_soon(in_a_child, request)
    return PlainTextResponse("done")


async def in_the_body(request: Request) -> Response:
    async with anyio.create_task_group() as group:
        group.start_soon(beside)
        await load()
    return PlainTextResponse("done")


async def tidies_up(request: Request) -> Response:
    try:
        await load()
    finally:
        await beside()  # is cancelled, too
    return PlainTextResponse("done")


async def streams(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"piece"
        await query()

    return StreamingResponse(pieces())


def from_view(call: Callable[..., Any], *args: object) -> object:
    """A helper of an application whose views are not async."""
    return trio.from_thread.run(call, *args)


def in_a_thread(request: Request) -> Response:
    from_view(trio.sleep, 1000)
    return PlainTextResponse("done")


STORIES = {
    awaits: "query < load < awaits",
    in_a_child: "query < load < in_a_child",
    in_a_grandchild: "query < load < in_a_child",
    in_the_body: "query < load < in_the_body",
    tidies_up: "query < load < tidies_up",
    streams: "query < pieces",
    in_a_thread: "from_view < in_a_thread",
}


class Own(BaseHTTPMiddleware):
    """A middleware of the application: Starlette runs what is below it in a task group."""

    async def dispatch(self, request: Request, call_next: Callable[[Request], Any]) -> Response:
        response: Response = await call_next(request)
        return response


def said(text: str) -> list[str]:
    """The functions that a line of the log names."""
    return re.findall(r" in (\w+)", text.partition("stuck at")[2].partition("\n")[0])


@pytest.mark.parametrize("layers", [0, 1, 2])
@all_placements
async def test_requests(
    placement: Placement,
    layers: int,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The innermost frames of the application's own, through task groups, middleware and threads."""
    routes = [Route(f"/{view.__name__}", view) for view in STORIES]
    app = Starlette(routes=routes, middleware=[Middleware(Own)] * layers)
    async with open_runtime(app, Config(harakiri=3, placement=placement), registry=uwsgi_registry) as runtime:
        for view, expected in STORIES.items():
            caplog.clear()
            async with runtime.connect() as stream:
                await stream.send_all(f"GET /{view.__name__} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await trio.sleep(4)
            assert expected.split(" < ") == said(caplog.text)
    assert "trio.from_thread.run(call, *args)) < " in caplog.text  # the source of the first


@pytest.mark.parametrize("threads", [1, 0])
@task_placements("threads are those of the test's process")
async def test_wsgi(
    placement: Placement,
    threads: int,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A view that waits through a helper is named with it."""

    def view(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        from_view(load)
        return []

    config = Config(harakiri=3, placement=placement, **({"threads": threads} if threads else {}))  # type: ignore[arg-type]
    async with open_runtime(view, config, registry=uwsgi_registry) as runtime:
        assert 504 == (await runtime.client.get("/")).status_code
    assert ["query", "load", "from_view"] == said(caplog.text)


@all_placements
async def test_handlers(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A signal handler's child task is found like a request's."""

    @uwsgi_registry.signal_handler(7)
    async def handler(signum: int) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(beside)
            group.start_soon(load)

    async with open_runtime(None, Config(harakiri=3, placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(7)
        await trio.sleep(10)
    assert ["query", "load", "handler"] == said(caplog.text)


async def test_cancellations_that_are_each_others_causes(autojump_clock: MockClock) -> None:
    """A circle of errors ends, too."""
    caught: list[trio.Cancelled] = []
    with trio.move_on_after(1):
        try:
            await load()
        except trio.Cancelled as first:
            caught.append(first)
            try:
                await beside()
            except trio.Cancelled as second:
                second.__cause__, first.__context__ = first, second
                caught.append(second)
            raise
    for error in caught:
        assert "in query (await trio.sleep(1000)) < " in location(error)
