"""Tests of the shop on a mock clock, in tasks and in processes.

Run them   cd examples/shop_starlette && python -m pytest
"""

import dataclasses
import functools
from pathlib import Path

import pytest
import shop  # type: ignore[import-not-found]
import trio

from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime

pytestmark = pytest.mark.trio  # pytest-trio; not needed where its `trio_mode` is on
TEA = {"product": "tea", "email": "ada@example.com"}
COFFEE = {"product": "coffee", "email": "ada@example.com"}


@pytest.fixture(params=["task", "process"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The shop's config, once for tasks and once for two worker processes; in a folder without a shop.db."""
    monkeypatch.chdir(tmp_path)
    config: Config = dataclasses.replace(shop.config, workers=2, placement=request.param)
    return config


async def test_an_order(config: Config, autojump_clock: trio.testing.MockClock) -> None:
    """It is accepted at once, and soon confirmed and counted."""
    async with open_runtime(shop.app, config) as runtime:
        assert "tea: 6 EUR, 50 in stock" in (await runtime.client.get("/")).text
        response = await runtime.client.post("/orders", data=TEA)
        assert (response.status_code, response.text) == (202, "order 1 accepted\n")
        await trio.sleep(1)
        assert (await runtime.client.get("/orders/1")).json() == {"product": "tea", "confirmed": True}
        assert "tea: 6 EUR, 49 in stock" in (await runtime.client.get("/")).text
        assert runtime.log.count("message 3 bytes", "mule1") == 1
        assert runtime.log.count("job confirm") == 1


async def test_an_hour(config: Config, autojump_clock: trio.testing.MockClock) -> None:
    """The stock is counted once a minute, in the mule."""
    async with open_runtime(shop.app, config) as runtime:
        await trio.sleep(3600)
        assert runtime.log.count(f"signal {shop.every_minute.signum}", "mule1") == 60


async def test_sold_out(config: Config, autojump_clock: trio.testing.MockClock) -> None:
    """What is not in stock cannot be ordered."""
    async with open_runtime(shop.app, config) as runtime:
        answers = [await runtime.client.post("/orders", data=COFFEE) for _ in range(21)]
        assert [answer.status_code for answer in answers] == [202] * 20 + [409]


async def test_letters_are_retried(
    config: Config, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the mail server is down, the job is retried after pauses that grow."""
    began = trio.current_time()

    async def send_mail(email: str, text: str) -> None:
        if trio.current_time() < began + 10:
            raise OSError("no mail server")

    monkeypatch.setattr(shop, "send_mail", send_mail)
    async with open_runtime(shop.app, config, allow_failures=True) as runtime:
        await runtime.client.post("/orders", data=TEA)
        await trio.sleep(60)
        assert runtime.log.count("job confirm retry") == 2
        assert (await runtime.client.get("/orders/1")).json() == {"product": "tea", "confirmed": True}


async def test_a_slow_page_is_cancelled(
    config: Config, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that takes longer than `harakiri` is answered with 504; others are not affected."""
    monkeypatch.setattr(shop, "render", functools.partial(trio.sleep, 3600))
    async with open_runtime(shop.app, config) as runtime:
        assert (await runtime.client.get("/")).status_code == 504
        assert runtime.log.times("request GET / harakiri") == [10.0]
        assert (await runtime.client.post("/orders", data=TEA)).status_code == 202
