"""Harakiri of requests, handlers and messages: what is cancelled, what is not, what the log says."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: object, send: Send) -> None:
    """Sleeps as many seconds as its path says, under the limits its query names, before or after its head."""
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    seconds = float(scope["path"].strip("/"))
    for limit in scope["query_string"].decode().split("&"):
        name, _, value = limit.partition("=")
        if name == "user":
            uwsgi.set_user_harakiri(float(value))
        if name == "head":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
    with uwsgi.harakiri(100):
        await trio.sleep(seconds)
    if "head" not in scope["query_string"].decode():
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The same in a thread."""
    if environ["QUERY_STRING"]:
        uwsgi.set_user_harakiri(float(environ["QUERY_STRING"].removeprefix("user=")))
    trio.from_thread.run(trio.sleep, float(environ["PATH_INFO"].strip("/")))
    start_response("200 OK", [])
    return [b"done"]


@pytest.mark.parametrize("app", [asgi, wsgi])
@all_placements
async def test_only_the_slow_request_is_ended(
    placement: Placement,
    app: object,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    uwsgi_registry: Registry,
) -> None:
    """At its deadline the slow request is answered 504, and the log has the member, the request, the limit and the
    line; another request is served.
    """
    answers: dict[str, tuple[int, float]] = {}

    async def get(path: str) -> None:
        response = await runtime.client.get(path)
        answers[path] = (response.status_code, round(trio.current_time() - began, 3))

    with caplog.at_level(logging.ERROR):
        async with open_runtime(
            app, Config(harakiri=5, threads=4, placement=placement), registry=uwsgi_registry
        ) as runtime:
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for path in ("/3600", "/4", "/3600?user=2", "/3600?user=7"):
                    nursery.start_soon(get, path)
            assert {"/3600": (504, 5), "/4": (200, 4), "/3600?user=2": (504, 2), "/3600?user=7": (504, 5)} == answers
            assert 3 == runtime.statistics().members[0].harakiri
            assert [2.0, 5.0, 5.0] == runtime.log.times("request GET /3600 harakiri")
            assert 200 == (await runtime.client.get("/0")).status_code
    assert "harakiri on worker1: request GET /3600 was cancelled after 5.00 s, stuck at " in caplog.text
    assert "test_harakiri_path.py" in caplog.text
    assert "trio.sleep" in caplog.text


@all_placements
async def test_after_the_head_the_connection_is_aborted(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A response that has begun cannot become a 504: the client sees that it is incomplete."""
    async with open_runtime(asgi, Config(harakiri=5, placement=placement), registry=uwsgi_registry) as runtime:
        with pytest.raises(httpx.RemoteProtocolError):
            await runtime.client.get("/3600?head=1")
        assert [5.0] == runtime.log.times("request GET /3600 harakiri")


@all_placements
async def test_the_last_limit_counts_and_zero_clears(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`set_user_harakiri` replaces its earlier limit, 0 takes it away, and the next unit of work begins without one."""
    async with open_runtime(asgi, Config(placement=placement), registry=uwsgi_registry) as runtime:
        for query, expected in (("user=2&user=9", 200), ("user=2&user=0", 200), ("user=9&user=2", 504), ("", 200)):
            response = await runtime.client.get(f"/5?{query}")
            assert expected == response.status_code, query


@all_placements
async def test_a_limit_for_a_block_gives_back_the_one_before(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`with harakiri()` limits its body, keeps a stricter limit, and restores the former one, also after an error."""
    story: Notes[object] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        uwsgi.set_user_harakiri(10)
        with contextlib.suppress(KeyError), uwsgi.harakiri(2):
            await trio.sleep(1)
            raise KeyError
        await trio.sleep(4)
        story.append("inner limit is gone")
        with uwsgi.harakiri(60):
            await trio.sleep(60)
        story.append("never")

    with pytest.raises(ValueError, match="more than 0"):
        await _in_handler(lambda: uwsgi.harakiri(0).__enter__())
    with pytest.raises(ValueError, match="0 clears it"):
        await _in_handler(lambda: uwsgi.set_user_harakiri(-1))
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(100)
        assert ["inner limit is gone"] == story
        assert [10.0] == runtime.log.times("signal 1 harakiri")


@all_placements
async def test_blocks_of_tasks_side_by_side_have_a_limit_each(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A block that ends takes its own limit away: not that of a block beside it, and none comes back after its end."""
    story: Notes[object] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        async def block(start: float, limit: float, end: float) -> None:
            await trio.sleep(start)
            with uwsgi.harakiri(limit):
                await trio.sleep_until(began + end)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block, 0, 5, 2)
            nursery.start_soon(block, 1, 50, 3)
        await trio.sleep(10)
        story.append("neither limit came back")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block, 0, 50, 14)
            nursery.start_soon(block, 1, 5, 100)

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(100)
        assert ["neither limit came back"] == story
        assert [19.0] == runtime.log.times("signal 1 harakiri")


@all_placements
async def test_a_limit_set_inside_a_block_outlives_it(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`set_user_harakiri` in a block neither lifts the block's limit nor ends with the block."""

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        with uwsgi.harakiri(5):
            uwsgi.set_user_harakiri(20)
        await trio.sleep(3600)

    @uwsgi_registry.signal_handler(2)
    async def kept(signum: int) -> None:
        with uwsgi.harakiri(5):
            uwsgi.set_user_harakiri(0)
            await trio.sleep(3600)

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(100)
        runtime.signal(2)
        await trio.sleep(100)
        assert [20.0] == runtime.log.times("signal 1 harakiri")
        assert [105.0] == runtime.log.times("signal 2 harakiri")


async def test_a_block_that_kept_trio_from_running_is_late_all_the_same(
    autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A block that blocks Trio's thread past its limit ends its unit at the next checkpoint."""

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        with uwsgi.harakiri(5):
            autojump_clock.jump(10)
        await trio.sleep(3600)

    async with open_runtime(registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(100)
        assert [10.0] == runtime.log.times("signal 1 harakiri")


async def _in_handler(call: Callable[[], object]) -> None:
    registry = Registry()

    @registry.signal_handler(1)
    async def handler(signum: int) -> None:
        call()

    async with open_runtime(registry=registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)


@all_placements
async def test_handlers_and_messages_have_their_members_limit(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Signals in workers are limited by `harakiri`, signals and messages in mules by `mule_harakiri`; the next one
    runs.
    """

    @uwsgi_registry.signal_handler(1)
    @uwsgi_registry.signal_handler(2, target="mule1")
    async def stuck(signum: int) -> None:
        await trio.sleep(3600)

    @uwsgi_registry.mule_message_handler
    def stuck_thread(message: bytes) -> None:
        trio.from_thread.run(trio.sleep, 3600)

    config = Config(harakiri=5, mule_harakiri=7, mules=1, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for _ in range(2):
            runtime.signal(1)
            runtime.signal(2)
            runtime.mule_msg(b"x")
        await trio.sleep(100)
        assert [5.0, 10.0] == runtime.log.times("signal 1 harakiri")
        assert [7.0, 14.0] == runtime.log.times("signal 2 harakiri")
        assert [7.0, 14.0] == runtime.log.times("message harakiri")


@all_placements
async def test_a_failing_handler_ends_nothing_in_production_and_the_test_in_tests(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """User code that raises is logged with its traceback and counted; by default it fails the test."""

    @uwsgi_registry.signal_handler(1)
    async def handler(signum: int) -> None:
        raise LookupError("no such thing")

    async def fail() -> None:
        async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
            runtime.signal(1)
            await trio.sleep(1)

    with pytest.raises(LookupError, match="no such thing"):
        await fail()
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry, allow_failures=True) as runtime:
        runtime.signal(1)
        runtime.signal(1)
        await trio.sleep(1)
        assert 2 == runtime.log.count("signal 1 failed: LookupError: no such thing")
        assert 2 == runtime.statistics().members[0].failed
    assert 'raise LookupError("no such thing")' in caplog.text
