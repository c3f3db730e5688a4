"""Tests of a whole application, with its timers and time limits, on a mock clock.

Shows      `open_runtime`: real HTTP bytes over memory streams, the event log, and days that pass at once on Trio's mock
           clock; a separate registry; an exception in user code, which fails the test unless failures are allowed.
Try it     python examples/testing_on_mock_time.py        or: pytest examples/testing_on_mock_time.py
Leaves out tests that need sockets, which run on the real clock.
"""

import datetime
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
import trio

import trio_uwsgi
from trio_uwsgi.testing import open_runtime

pytestmark = pytest.mark.trio  # pytest-trio; not needed where its `trio_mode` is on
registry = trio_uwsgi.Registry()
config = trio_uwsgi.Config(mules=1, harakiri=30, timezone="Europe/Rome")


@registry.cron("30 2 * * *", target="mule1")
async def report(signum: int) -> None:
    """The code under test: a report every night."""


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """The code under test: waits for the number of seconds in the path, and fails if that is not a number."""
    trio.from_thread.run(trio.sleep, float(environ["PATH_INFO"][1:]))
    start_response("200 OK", [])
    return [b"waited\n"]


async def test_a_report_every_night(autojump_clock: trio.testing.MockClock) -> None:
    """It runs also in the night in which 02:30 is skipped."""
    begin = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    async with open_runtime(app, config, registry=registry, begin=begin) as runtime:
        await trio.sleep(31 * 86400)
        assert sum(event.member == "mule1" for event in runtime.log) == 31


async def test_a_slow_request_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    """A request of 29 s is answered; a request of an hour is cancelled after 30 s."""
    async with open_runtime(app, config, registry=registry) as runtime:
        assert (await runtime.client.get("/29")).status_code == 200
        assert (await runtime.client.get("/3600")).status_code == 504
        assert runtime.log.times("request GET /3600 harakiri") == [59.0]


async def test_a_failing_request_is_contained(autojump_clock: trio.testing.MockClock) -> None:
    """With `allow_failures` the client gets a 500, as in production; without it, the ValueError is raised here."""
    async with open_runtime(app, config, registry=registry, allow_failures=True) as runtime:
        assert (await runtime.client.get("/soon")).status_code == 500
        assert (await runtime.client.get("/1")).status_code == 200


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__]))
