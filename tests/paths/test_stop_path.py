"""Stopping: graceful within the mercy, hard by cancellation; nothing is left either way."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_uwsgi
from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import BootError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

Send = Callable[[dict[str, Any]], Awaitable[None]]


class LifespanApp:
    """An ASGI application that notes its lifespan and sleeps as long as a request's path says."""

    def __init__(self) -> None:
        self.story: Notes[tuple[str, float]] = Notes()

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                self.story.append((message["type"].partition(".")[2], round(trio.current_time() - self.began, 3)))
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await trio.sleep(float(scope["path"].strip("/")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    began = 0.0


@all_placements
async def test_running_work_ends_within_the_mercy(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A graceful stop lets the request, the handler and the waiting signals end, then shuts the lifespan down, in that
    order.
    """
    app = LifespanApp()
    app.began = trio.current_time()
    statuses: list[int] = []

    @uwsgi_registry.signal_handler(1, target="mule1")
    async def slow(signum: int) -> None:
        await trio.sleep(3)
        app.story.append(("signal", round(trio.current_time() - app.began, 3)))

    @uwsgi_registry.mule(1)
    async def program() -> None:
        try:
            await trio.sleep_forever()
        finally:
            app.story.append(("program", round(trio.current_time() - app.began, 3)))

    config = Config(mules=1, mercy=20, placement=placement)
    async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(1)

        async def request() -> None:
            statuses.append((await runtime.client.get("/5")).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await trio.sleep(1)
            runtime.stop()
            runtime.stop()
            await runtime.runtime._tree.ended.wait()
    assert "mercy" not in caplog.text
    assert [200] == statuses
    expected = [("startup", 0), ("signal", 3), ("shutdown", 5), ("program", 5), ("signal", 6)]
    assert expected == app.story


@all_placements
async def test_after_the_mercy_the_rest_is_cancelled_and_counted(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """What does not end within the mercy is cancelled; signals that were not run are listed in the log."""

    @uwsgi_registry.signal_handler(1)
    @uwsgi_registry.signal_handler(2, target="mule1")
    async def stuck(signum: int) -> None:
        await trio.sleep(3600)

    config = Config(mules=1, mercy=10, placement=placement)
    began = trio.current_time()
    with caplog.at_level(logging.WARNING):
        async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
            for signum in (1, 2, 2, 2):
                runtime.signal(signum)
            await trio.sleep(1)
    assert 12 == round(trio.current_time() - began, 3)
    assert "mule1 ended; signals that were not run: 2, 2" in caplog.text
    assert "the mercy of 10 s is over: cancelled what the workers still ran" in caplog.text
    assert "the mercy of 10 s is over: cancelled what the mules still ran" in caplog.text


@all_placements
async def test_a_lifespan_that_does_not_end(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its shutdown is cancelled when the mercy is over, and the log says so."""
    story: Notes[str] = Notes()

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await trio.sleep(3600)
        finally:
            story.append("cancelled")

    logged = logging.StreamHandler()  # on standard error, which members' processes share
    logger = logging.getLogger("trio_uwsgi")
    logger.addHandler(logged)
    try:
        began = trio.current_time()
        async with open_runtime(app, Config(mercy=10, placement=placement), registry=uwsgi_registry):
            pass
    finally:
        logger.removeHandler(logged)
    assert 9.5 < trio.current_time() - began <= 11
    assert ["cancelled"] == story
    assert "the application's shutdown took longer than" in capfd.readouterr().err


@all_placements
async def test_one_mercy_is_for_all(
    placement: Placement,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A request, a message and a job that take too long have one deadline, counted from the stop. The job is kept, and
    its attempt does not count.
    """

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        await trio.sleep(3600)

    @uwsgi_registry.spool_handler
    async def work(job: uwsgi.Job) -> None:
        await trio.sleep(3600)

    async def app(scope: dict[str, Any], receive: object, send: object) -> None:
        assert "http" == scope["type"]
        await trio.sleep(3600)

    caplog.set_level(logging.INFO)
    folder = tmp_path / "jobs"
    config = Config(mules=1, spooler=str(folder), mercy=10, placement=placement)
    begin = datetime.datetime.now(datetime.UTC)
    async with open_runtime(app, config, registry=uwsgi_registry, begin=begin) as runtime, runtime.connect() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        runtime.mule_msg(b"x")
        await runtime.spool({"ud_spool_func": "work"})
        await trio.sleep(5)
        began = trio.current_time()
        runtime.stop()
        await runtime.runtime._tree.ended.wait()
        assert 10 <= trio.current_time() - began <= 12.1
        assert 1 == runtime.log.count("job work cut off", "spooler1")
    if placement == "task":  # the log of other processes is their own
        assert 'GET / HTTP/1.1" - 0b 15000.0ms dropped' in caplog.text
    assert 1 == len(list(folder.glob("uwsgi_spoolfile_on_*")))
    assert not list((folder / ".tries").glob("*"))


async def test_threads_that_end_take_no_virtual_time(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """The clock stands still while a stop waits for idle threads: no timer ticks, and no mercy passes, meanwhile."""

    @uwsgi_registry.timer(1, target="workers")
    def tick(signum: int) -> None:
        pass

    async with open_runtime(None, Config(workers=4), registry=uwsgi_registry) as runtime:
        await trio.sleep(3.5)
        began = trio.current_time()
        runtime.stop()
        await runtime.runtime._tree.ended.wait()
        assert began == trio.current_time()


@all_placements
async def test_cancelling_serve_leaves_nothing_behind(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A hard stop in the middle of requests, handlers, messages and threads: no task and no thread is left."""
    entered: Notes[str] = Notes()

    @uwsgi_registry.signal_handler(1)
    def in_thread(signum: int) -> None:
        entered.append("thread")
        trio.from_thread.run(trio.sleep, 3600)

    @uwsgi_registry.signal_handler(2, target="mule1")
    async def as_task(signum: int) -> None:
        entered.append("task")
        await trio.sleep(3600)

    @uwsgi_registry.mule(1)
    async def program() -> None:
        await uwsgi.mule_get_msg()

    app = LifespanApp()
    tasks_before = len(_tasks())
    with trio.move_on_after(10) as scope:
        config = Config(mules=1, mercy=1000, placement=placement)
        async with open_runtime(app, config, registry=uwsgi_registry) as runtime:
            runtime.signal(1)
            runtime.signal(2)
            await runtime.client.get("/3600")
    assert scope.cancelled_caught
    assert ["task", "thread"] == sorted(entered)
    assert tasks_before == len(_tasks())
    await trio.testing.wait_all_threads_completed()
    assert 0 == trio.testing.active_thread_count()
    assert uwsgi_registry.headcount is None


def _tasks() -> list[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found, todo = [], [root]
    while todo:
        task = todo.pop()
        found.append(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_a_failed_startup_leaves_as_it_is(uwsgi_registry: Registry) -> None:
    """A lifespan that fails comes out of `nursery.start` as a plain `BootError` with the application's reason."""

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    config = Config(http="127.0.0.1:0", mules=1)
    async with trio.open_nursery() as nursery:
        with pytest.raises(BootError, match="no database"):
            await nursery.start(partial(trio_uwsgi.serve, registry=uwsgi_registry), app, config)
    assert uwsgi_registry.headcount is None


async def test_embedded_serve_returns_when_its_runtime_stops(uwsgi_registry: Registry) -> None:
    """`nursery.start(serve, ...)` gives the runtime and its real port; `stop` lets `serve` return and frees it."""
    app = LifespanApp()
    config = Config(http=["127.0.0.1:0", "[::1]:0"])
    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(partial(trio_uwsgi.serve, registry=uwsgi_registry), app, config)
        assert 2 == len(runtime.addresses)
        assert all(address.port for address in runtime.addresses)
        assert str(runtime.addresses[0].port) in repr(runtime)
        stream = await trio.open_tcp_stream("127.0.0.1", runtime.addresses[0].port)
        await stream.send_all(b"GET /0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await stream.aclose()
        runtime.stop()
    assert runtime.stopping
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", runtime.addresses[0].port)
    assert threading.current_thread() is threading.main_thread()
