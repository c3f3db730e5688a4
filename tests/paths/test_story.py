"""The big story on mock time: a year, two changes of the clock, time limits and crashes, in under two seconds; always
the same.
"""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Callable, Iterable

import pytest
import trio
from trio.testing import MockClock

from tests.paths.placements import Placement, first_placement
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.testing import Event, Notes, RuntimeUnderTest, open_runtime

ROME = zoneinfo.ZoneInfo("Europe/Rome")
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=ROME)
DAY = 86400
CRON, TICKS, STUCK = 3, 10, 4


def wsgi(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Waits for an hour in its thread."""
    trio.from_thread.run(trio.sleep, 3600)
    start_response("200 OK", [])
    return [b"late"]


def declare(registry: Registry, mondays: Notes[datetime.datetime], now: Callable[[], datetime.datetime]) -> None:
    """The declarations of the story."""

    @registry.signal_handler(CRON)
    async def monday(signum: int) -> None:
        mondays.append(now())

    registry.cron("0 3 * * 1")(monday)

    @registry.signal_handler(TICKS, target="mule1")
    async def tick(signum: int) -> None: ...

    @registry.signal_handler(STUCK)
    async def stuck(signum: int) -> None:
        await trio.sleep(3600)

    crashes = iter(range(3))

    @registry.mule(2)
    async def program() -> None:
        await trio.sleep(0.5)
        if next(crashes, None) is not None:
            raise RuntimeError("crash")
        await trio.sleep_forever()

    @registry.signal_handler(5)
    async def start_timers(signum: int) -> None:
        for n in range(10_000):
            uwsgi.add_rb_timer(TICKS, 60 * (n % 1440 + 1), 1)  # about seven in each minute of the day


async def the_story(placement: Placement) -> tuple[list[Event], list[datetime.datetime]]:
    """A year of a cron, a day of 10,000 timers, two harakiris of 30 seconds, and a mule that crashes three times."""
    registry = Registry()
    mondays: Notes[datetime.datetime] = Notes()
    began = trio.current_time()

    def now() -> datetime.datetime:
        passed = datetime.timedelta(seconds=round(trio.current_time() - began, 3))
        return (BEGIN.astimezone(datetime.UTC) + passed).astimezone(ROME)

    declare(registry, mondays, now)
    config = Config(mules=2, threads=1, harakiri=30, timezone="Europe/Rome", placement=placement)
    async with open_runtime(wsgi, config, registry=registry, begin=BEGIN, allow_failures=True) as runtime:
        runtime.signal(STUCK)
        response = await runtime.client.get("/stuck")
        assert 504 == response.status_code
        assert 30 == round(trio.current_time() - began, 3)
        runtime.signal(5)
        await trio.sleep(DAY + 1)
        check_the_first_day(runtime)
        await trio.sleep(364 * DAY)
        return list(runtime.log), list(mondays)


def check_the_first_day(runtime: RuntimeUnderTest) -> None:
    """What must have happened by then, and when."""
    log = runtime.log
    assert 10_000 == log.count(f"signal {TICKS}", "mule1")
    assert [30.0] == log.times(f"signal {STUCK} harakiri")
    assert [30.0] == log.times("request GET /stuck harakiri")
    # Each run lasts half a second; the pauses between them are 1, 2 and 4 s.
    assert [0, 1.5, 4.0, 8.5] == log.times("program started", "mule2")
    assert 3 == log.count("program program failed: RuntimeError: crash")


def run_the_story(placement: Placement = "task") -> tuple[list[Event], list[datetime.datetime]]:
    return trio.run(the_story, placement, clock=MockClock(autojump_threshold=0))


@pytest.fixture(scope="module")
def first_log() -> list[Event]:
    """What the other runs are compared with."""
    return run_the_story()[0]


@first_placement
def test_a_year_passes_in_seconds(placement: Placement, first_log: list[Event]) -> None:
    """Each Monday at 03:00 local time, in summer and in winter; with the same events wherever the members live."""
    began = time.perf_counter()
    log, mondays = run_the_story(placement)
    assert first_log == log
    print(f"{time.perf_counter() - began:.2f} s, {len(log)} events")
    assert 52 == len(mondays)
    for index, monday in enumerate(mondays):
        expected = datetime.datetime(2026, 1, 5, 3, tzinfo=ROME) + index * datetime.timedelta(weeks=1)  # local weeks
        assert expected == monday


@pytest.mark.parametrize("run", [1, *(pytest.param(run, marks=pytest.mark.long) for run in range(2, 20))])
def test_twenty_runs_give_one_log(run: int, first_log: list[Event]) -> None:
    """The same story gives the same events, at the same times, in the same order."""
    assert first_log == run_the_story()[0]
