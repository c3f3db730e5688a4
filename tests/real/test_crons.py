"""Commands of crons as processes: when they run, what is logged, and their end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.interop.peers import TIMEOUT, find_program, free_port
from tests.real.test_daemons import Log, end_of_group
from tests.real.test_daemons import log as log  # a fixture
from trio_uwsgi._program import crons
from trio_uwsgi._program.crons import Crons
from trio_uwsgi._program.shell_command import open_lifeline
from trio_uwsgi._signals.ticker import WallClock
from trio_uwsgi.config.clock import CronCommand

pytestmark = pytest.mark.real

EACH_MINUTE = "-1 -1 -1 -1 -1 "


MINUTE = 1_800_000_000  # a full one


def almost_a_minute() -> Callable[[], float]:
    """A time of day that is now shortly before a full minute."""
    began = time.monotonic()
    return lambda: MINUTE - 0.3 + time.monotonic() - began


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Time that runs 60 times as fast as ours, for processes that run in ours."""
    monkeypatch.setattr("tests.real.test_daemons.SECONDS", 3600)
    return MockClock(rate=60)


async def run_some(wanted: str, *given: str, log: Log, harakiri: float = 0) -> str:
    """Run crons until this is in the log; returns its first group."""
    with open_lifeline() as lifeline:
        begun = trio.current_time()
        clock = WallClock(lambda: MINUTE - 10 + trio.current_time() - begun, steady=True)
        running = Crons([CronCommand.parse(text) for text in given], harakiri, None, lifeline, clock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.run)
            found = await log.wait_for(wanted)
            nursery.cancel_scope.cancel()
    return found


async def test_a_command_is_run_and_logged(log: Log, fast_clock: MockClock) -> None:
    """What it prints is a line of the log, on both streams; and how it ended."""
    found = await run_some(
        r"echo (.*) ended with exit code 3 after", f"{EACH_MINUTE}echo a; echo b >&2; exit 3", log=log
    )
    assert "a; echo b >&2; exit 3" == found
    assert ["a", "b"] == [line.rpartition(": ")[2] for line in log.lines if ": " in line][:2]


async def test_a_command_that_takes_too_long(log: Log, fast_clock: MockClock) -> None:
    """It is ended with all that it has started; its own limit counts more."""
    await run_some(
        r"sleep 600 (was ended), because it ran for longer than 9 s", f"{EACH_MINUTE}sleep 600", log=log, harakiri=9
    )
    await run_some(
        "sleep 601 (was ended), because it ran for longer than 6 s", "minute=-1,harakiri=6 sleep 601", log=log
    )


async def test_runs_do_not_pile_up(log: Log, fast_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is unique is run once at a time; the others as often as is bearable. All end with the server."""
    monkeypatch.setattr(crons, "MOST_AT_ONCE", 2)
    some = "echo group $$; exec sleep 600"
    await run_some(
        "cron (echo) .* is left out, because 2 of its runs", f"minute=-1,unique=1 {some}", EACH_MINUTE + some, log=log
    )
    groups = [line.rpartition("group ")[2] for line in log.lines if ": group " in line]
    assert 3 == len(groups)
    for group in groups:
        await end_of_group(group)


async def test_crons_of_a_killed_server(tmp_path: Path) -> None:
    """They end with it."""
    code = (
        "import trio\nfrom tests.real.test_crons import *\nasync def main():\n"
        "    with open_lifeline() as lifeline:\n"
        "        command = CronCommand.parse(EACH_MINUTE + 'echo $$ > group; exec sleep 600')\n"
        "        await Crons([command], 0, None, lifeline, WallClock(almost_a_minute())).run()\n"
        "trio.run(main)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as server:  # noqa: ASYNC220
        file = tmp_path / "group"
        with trio.fail_after(TIMEOUT):
            while not (file.exists() and file.read_text()):  # noqa: ASYNC110
                await trio.sleep(0.05)
        server.kill()
    await end_of_group(file.read_text().strip())


@pytest.mark.parametrize("who", ["ours", "uwsgi"])
@pytest.mark.long
def test_both_run_it(tmp_path: Path, who: str) -> None:
    """A cron of each minute, in both forms, and a timer of the configuration, here and in a real uWSGI."""
    program = find_program("uwsgi", "pyuwsgi")
    if program is None:
        pytest.skip("uWSGI is not installed: pip install pyuwsgi")
    (tmp_path / "hello.py").write_text(
        "import uwsgi\nuwsgi.register_signal(5, '', lambda n: open('timer', 'a').write('x'))\n"
        "def application(environ, start_response): ...\n"
    )
    (tmp_path / "uwsgi.ini").write_text(
        f"[uwsgi]\nmodule = hello\nmaster = true\nhttp-socket = 127.0.0.1:{free_port()}\ntimer = 5 1\n"
        "cron = -1 -1 -1 -1 -1 pwd > cron\ncron2 = minute=-1,unique=1 pwd > cron2\n"
    )
    words = [program, "--die-on-term"] if who == "uwsgi" else [sys.executable, "-m", "trio_uwsgi"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([*words, "--ini", "uwsgi.ini"], cwd=tmp_path, env=environment) as server:
        deadline = time.monotonic() + 90
        files = [tmp_path / name for name in ("timer", "cron", "cron2")]
        while not all(file.exists() and file.read_text() for file in files) and time.monotonic() < deadline:
            time.sleep(0.1)
        server.terminate()
        assert 0 == server.wait(TIMEOUT)
    assert [f"{tmp_path}\n"] * 2 == [file.read_text() for file in files[1:]]
    assert files[0].read_text()
