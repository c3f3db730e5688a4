"""Days that pass at once: `autojump_clock`, of pytest-trio, jumps to the next instant at which anything happens."""

import datetime

import trio
from bakery import app, bake  # type: ignore[import-not-found]
from trio.testing import MockClock

from trio_uwsgi import Config
from trio_uwsgi.testing import open_runtime


async def test_a_week(autojump_clock: MockClock, config: Config) -> None:
    """Twenty loaves are baked every morning."""
    async with open_runtime(app, config) as runtime:
        await trio.sleep(7 * 86400)
        response = await runtime.client.get("/stock")  # an httpx client, whose bytes go through memory
    assert response.json() == {"loaves": 140}


async def test_the_clocks_change(autojump_clock: MockClock, config: Config) -> None:
    """The bakery opens at five in Rome, which is an hour earlier in UTC once summer time has begun."""
    begin = datetime.datetime(2026, 3, 28, tzinfo=datetime.UTC)  # a Saturday; the clocks change on Sunday
    async with open_runtime(app, config, begin=begin) as runtime:
        await trio.sleep(2 * 86400)
        hours = [seconds / 3600 for seconds in runtime.log.times(f"signal {bake.signum}", "mule1")]
    assert hours == [4, 24 + 3]


async def test_sold_out(autojump_clock: MockClock, config: Config) -> None:
    """Before the first morning there is nothing to sell, and no job is queued."""
    async with open_runtime(app, config) as runtime:
        response = await runtime.client.post("/orders/ada")
        assert response.status_code == 409
        assert runtime.statistics().spools[0].waiting == 0
