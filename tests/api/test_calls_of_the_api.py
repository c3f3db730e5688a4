"""Calls of the API that cannot work: by synchronous code that does not await, or with arguments of another type."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import greenback
import pytest
import trio

from trio_uwsgi import Cache, Config, Registry, sync, uwsgi
from trio_uwsgi._apps import loop_detection
from trio_uwsgi._apps.loop_detection import run_sync_code
from trio_uwsgi.errors import CannotWait
from trio_uwsgi.testing import open_runtime

AWAITED: dict[str, Callable[[], object]] = {
    "uwsgi.lock": lambda: uwsgi.lock(0),
    "uwsgi.cache_set": lambda: uwsgi.cache_set("k", "v"),
    "uwsgi.cache_get": lambda: uwsgi.cache_get("k"),
    "uwsgi.cache_del": lambda: uwsgi.cache_del("k"),
    "uwsgi.rpc": lambda: uwsgi.rpc("", "f"),
    "uwsgi.spool": lambda: uwsgi.spool(a="b"),
    "uwsgi.suspend": lambda: uwsgi.suspend(),
    "uwsgi.recv": lambda: uwsgi.recv(1),
    "f.spool": lambda: spooled().spool(a="b"),
}


def spooled() -> Any:
    registry = Registry()

    @registry.spool_handler()
    def f(job: Any) -> None: ...

    return f


def refusal(name: str) -> str:
    plain = "f.spool_sync(...)" if name == "f.spool" else f"{name.replace('uwsgi', 'sync')}(...)"
    of = "" if name == "f.spool" else " of trio_uwsgi"
    remedy = f"write {plain}{of}, or await {name}(...) in an async function"
    return f"{name}() has to wait, which synchronous code cannot; {remedy}"


@pytest.mark.parametrize("name", AWAITED)
async def test_a_thread_that_does_not_await_is_refused(name: str, autojump_clock: Any) -> None:
    """Such a call raises at once, and the error names the plain function and `await`."""
    refused: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        with pytest.raises(CannotWait) as info:
            AWAITED[name]()
        refused.append(str(info.value))
        trio.from_thread.run(uwsgi.cache_set, "k", "v")
        assert b"v" == uwsgi.cache().get("k") == trio.from_thread.run(uwsgi.cache_get, "k")
        start_response("200 OK", [])
        return [b""]

    config = Config(http=(), caches=[Cache("c", items=10)])
    async with open_runtime(app, config) as runtime:
        assert 200 == (await runtime.client.get("/")).status_code
    assert [refusal(name)] == refused


@pytest.mark.parametrize("portal", [False, True])
@pytest.mark.parametrize("name", AWAITED)
async def test_code_on_trios_thread_that_does_not_await_is_refused(name: str, portal: bool) -> None:
    """It is the same error there, with greenback too: the coroutine could be dropped, or taken for an answer."""
    if portal:
        await greenback.ensure_portal()
    with pytest.raises(CannotWait) as info:
        run_sync_code(AWAITED[name])
    assert refusal(name) == str(info.value)


async def test_async_code_below_greenback_awaits() -> None:
    """The functions can be called in async code that synchronous code awaits with greenback, and in a thread of it."""
    await greenback.ensure_portal()

    async def below() -> str:
        await uwsgi.suspend()
        return await trio.to_thread.run_sync(lambda: trio.from_thread.run(also))

    async def also() -> str:
        await uwsgi.suspend()
        return "done"

    assert "done" == run_sync_code(lambda: greenback.await_(below()))
    assert "done" == run_sync_code(sync.wait, also)


def test_unexpected_thread_data_of_trio_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Trio has moved its thread-local data, its own error text stays."""
    monkeypatch.setattr(trio._threads, "PARENT_TASK_DATA", object())
    loop_detection.hide_trio()

    class Local(threading.local):
        """As Trio's."""

    monkeypatch.setattr(trio._threads, "PARENT_TASK_DATA", Local())
    loop_detection.hide_trio()
    data = trio._threads.PARENT_TASK_DATA
    with pytest.raises(AttributeError):
        del data.token
    data.token = 5  # type: ignore[assignment]  # it is ours
    assert 5 == data.token  # type: ignore[comparison-overlap]
    del data.token
    with pytest.raises(AttributeError):
        data.token  # noqa: B018 # that is the point


WRONG: list[tuple[str, Any]] = [
    ("a time limit in seconds is a number, not '5'", lambda: uwsgi.set_user_harakiri("5")),  # type: ignore[arg-type]
    ("a time limit in seconds is a number, not None", lambda: uwsgi.harakiri(None).__enter__()),  # type: ignore[arg-type]
    ("an interval in milliseconds is a number, not '5'", lambda: uwsgi.add_ms_timer(5, "5")),  # type: ignore[arg-type]
    ("a time to sleep in seconds is a number, not '5'", lambda: uwsgi.async_sleep("5")),  # type: ignore[arg-type]
    ("a timeout in seconds is a number, not '5'", lambda: uwsgi.wait_fd_read(0, "5")),  # type: ignore[arg-type]
    ("a timeout in seconds is a number, not '5'", lambda: uwsgi.wait_fd_write(0, "5")),  # type: ignore[arg-type]
    ("a timeout in seconds is a number, not '5'", lambda: uwsgi.mule_get_msg(timeout="5")),  # type: ignore[arg-type]
    ("a descriptor is an int, not str", lambda: uwsgi.close("5")),  # type: ignore[arg-type]
    ("a descriptor is an int, not str", lambda: uwsgi.is_connected("5")),  # type: ignore[arg-type]
    ("a frequency in seconds is a number, not '5'", lambda: uwsgi.set_spooler_frequency("5")),  # type: ignore[arg-type]
    ("a spooler's directory is a str, not 5", lambda: uwsgi.spooler_jobs(5)),  # type: ignore[arg-type]
    ("the path of a job's file is str or bytes, not 5", lambda: uwsgi.spooler_get_task(5)),  # type: ignore[arg-type]
    ("the name of a cache is a str, not 5", lambda: uwsgi.cache_get("k", 5)),  # type: ignore[arg-type]
    ("the name of a cache is a str, not 5", lambda: uwsgi.cache_inc("k", 1, 0, 5)),  # type: ignore[arg-type]
    ("an item expires in a number of seconds, not '5'", lambda: uwsgi.cache_set("k", "v", "5")),  # type: ignore[arg-type]
    ("the timeout of a remote call is a number, not '5'", lambda: uwsgi.rpc("x:1", "f", timeout="5")),  # type: ignore[arg-type]
    ("the timeout of a remote call is a number, not '5'", lambda: uwsgi.remote_signal(5, "x:1", timeout="5")),  # type: ignore[arg-type]
]


async def test_arguments_of_another_type(autojump_clock: Any) -> None:
    """A value that is not a number, or not a str, is an error that names the argument and shows the value."""
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _, call in WRONG if scope["type"] == "http" else ():
            try:
                result = call()
                if hasattr(result, "__await__"):
                    await result
            except TypeError as error:
                errors.append(str(error))
            else:
                errors.append(f"nothing: {result!r}")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with open_runtime(app, Config(http=(), caches=[Cache("c", items=10)])) as runtime:
        assert 200 == (await runtime.client.get("/")).status_code
    assert [text for text, _ in WRONG] == errors
