"""Error texts that a first use of `trio_uwsgi.testing` may meet."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_uwsgi import Config, Registry
from trio_uwsgi.errors import RegistrationError
from trio_uwsgi.testing import open_runtime


async def test_a_missing_httpx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, before anything starts."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed; pip install 'trio-uwsgi\[testing\]'"):
        async with open_runtime():
            pytest.fail("it was opened")


@pytest.mark.parametrize("placement", ["task", "memory", "process"])
async def test_declarations_that_no_member_would_run_are_refused_in_tests(
    autojump_clock: trio.testing.MockClock, placement: Any
) -> None:
    """As in production: otherwise a test without a spooler would not show that jobs are never run."""
    registry = Registry()
    registry.spool_handler(name="mail")(lambda job: None)
    with pytest.raises(RegistrationError, match="@spool_handler mail would never run: this runtime has no spooler"):
        async with open_runtime(None, Config(placement=placement), registry=registry):
            pytest.fail("it was opened")
    registry = Registry()
    registry.mule_message_handler(lambda message: None)
    with pytest.raises(RegistrationError, match="would never run: this runtime has no mule; set Config\\(mules=1\\)"):
        async with open_runtime(None, Config(placement=placement), registry=registry):
            pytest.fail("it was opened")


async def _sleep_in_a_nursery() -> None:
    async with trio.open_nursery():
        await asyncio.sleep(1)


async def _await_a_future() -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


@pytest.mark.parametrize("wait", [_sleep_in_a_nursery, _await_a_future])
async def test_code_for_asyncio_gets_a_hint(
    wait: Callable[[], Awaitable[None]], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that calls asyncio is answered 500, and the line in the log says why that cannot work."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # as ASGI has them
        if scope["type"] == "http":
            await wait()

    async with open_runtime(app, allow_failures=True) as runtime:
        assert 500 == (await runtime.client.get("/")).status_code
    (line,) = [record.getMessage() for record in caplog.records if "GET / failed" in record.getMessage()]
    assert line.endswith("(asyncio does not run here; use Trio's or anyio's functions instead)")
