"""What fails: a job, a mule, a request that takes too long, and an oven.

`Notes` is a list to which code in any process can append; the test reads it.
"""

import dataclasses
from itertools import pairwise
from pathlib import Path

import bakery  # type: ignore[import-not-found]
import pytest
import trio
from trio.testing import MockClock

from trio_uwsgi import Config
from trio_uwsgi.testing import Notes, open_runtime


async def test_a_delivery_is_retried(
    autojump_clock: MockClock, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a courier, the job fails four times, with growing pauses. Then its file is in `dead/`, with a report."""
    times: Notes[float] = Notes()

    async def call_courier(customer: str) -> None:
        times.append(trio.current_time())
        raise ConnectionError("no courier answers")

    monkeypatch.setattr(bakery, "call_courier", call_courier)
    # An exception in the application fails a test, unless failures are allowed.
    async with open_runtime(bakery.app, config, allow_failures=True) as runtime:
        await trio.sleep(86400)
        assert (await runtime.client.post("/orders/ada")).status_code == 202
        await trio.sleep(3600)
        assert runtime.statistics().spools[0].dead == 1
    for shortest, (before, after) in zip([5, 10, 20], pairwise(times), strict=True):
        assert shortest <= after - before <= shortest * 1.25 + 0.01  # up to a quarter more, at random
    (report,) = (tmp_path / "spool" / "dead").glob("*.report")
    assert "ConnectionError: no courier answers" in report.read_text()


async def test_a_mule_is_killed(autojump_clock: MockClock, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cake that it was decorating is decorated again, before the one that waited."""
    cakes: Notes[str] = Notes()

    async def decorate(cake: str) -> None:
        await trio.sleep(60)
        cakes.append(cake)

    monkeypatch.setattr(bakery, "decorate", decorate)
    async with open_runtime(bakery.app, config) as runtime:
        await runtime.client.post("/cakes/sacher")
        await runtime.client.post("/cakes/linzer")
        await trio.sleep(30)
        runtime.kill("mule1")  # as `kill -9` of its process would
        await trio.sleep(200)
        assert runtime.log.times("died", "mule1") == [30]
    assert cakes == ["sacher (second attempt)", "linzer"]


async def test_a_slow_supplier(autojump_clock: MockClock, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit (harakiri) ends the request after five seconds; the next one is answered."""

    async def ask_supplier() -> str:
        await trio.sleep(86400)
        return "flour"

    async with open_runtime(bakery.app, config) as runtime:
        assert (await runtime.client.get("/supplies")).json() == {"next": "flour"}
    monkeypatch.setattr(bakery, "ask_supplier", ask_supplier)
    async with open_runtime(bakery.app, config) as runtime:
        assert (await runtime.client.get("/supplies")).status_code == 504
        assert runtime.log.times("request GET /supplies harakiri") == [5]
        assert (await runtime.client.get("/stock")).status_code == 200


async def test_a_hot_oven(autojump_clock: MockClock, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a test an alarm may be a function. It is called in the test's own process."""
    messages: list[str] = []
    config = dataclasses.replace(config, alarms={"oven": messages.append})
    monkeypatch.setattr(bakery, "oven_temperature", lambda: 300)
    async with open_runtime(bakery.app, config) as runtime:
        await trio.sleep(1800)
        assert runtime.log.times("alarm oven") == [600, 1200, 1800]
    assert messages == ["300 degrees"] * 3


async def test_one_at_a_time(autojump_clock: MockClock, config: Config) -> None:
    """Thirty customers come at once to three workers, and the twenty loaves are sold."""
    statuses: list[int] = []
    config = dataclasses.replace(config, workers=3)

    async with open_runtime(bakery.app, config) as runtime:

        async def order(customer: str) -> None:
            statuses.append((await runtime.client.post(f"/orders/{customer}")).status_code)

        await trio.sleep(86400)
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(order, f"customer{number}")
        await trio.sleep(60)
        assert runtime.statistics().spools[0].done == 20
    assert sorted(statuses) == [202] * 20 + [409] * 10
