"""Programs that run beside the server."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.real.commands import running
from trio_uwsgi._process.zygote import become_subreaper
from trio_uwsgi._program.daemons import LONGEST_LINE, keep_running

pytestmark = pytest.mark.real

SECONDS = 60


class Log(logging.Handler):
    """What daemons have in the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._send, self._receive = trio.open_memory_channel[str](math.inf)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        self._send.send_nowait(record.getMessage())

    async def wait_for(self, pattern: str) -> str:
        """Wait for a line that this is found in, and return its first group."""
        with trio.fail_after(SECONDS):
            while True:
                self.lines.append(await self._receive.receive())
                if found := re.search(pattern, self.lines[-1]):
                    return found[1]


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of daemons during a test."""
    logger = logging.getLogger("trio_uwsgi.daemon")
    handler, level = Log(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_a_daemon_is_restarted_and_its_output_logged(log: Log) -> None:
    """Each line is a line of the log, a long one several; a program that ends is started again, after a pause."""
    command = f"echo begins; head -c {LONGEST_LINE + 1} /dev/zero | tr '\\0' x; printf '\\n\\nlast'; exit 3"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, command)
        await log.wait_for("ended with (exit code 3); it is started again in 1 s")
        first = log.lines[:-1]
        await log.wait_for("it is started (again) in 2 s")
        nursery.cancel_scope.cancel()
    printed = [line.removeprefix(f"{command[:40]}...: ") for line in first[1:]]
    assert ["begins", "x" * (LONGEST_LINE + 1), "", "last"] == [printed[0], "".join(printed[1:-2]), *printed[-2:]]


@pytest.fixture
def _orphans() -> None:
    """Processes whose parent ends become children of this one, which can then reap them; elsewhere init does that."""
    if sys.platform == "linux":
        become_subreaper()


@pytest.mark.usefixtures("_orphans")
async def test_a_cancelled_daemon_gets_sigterm_with_its_group(log: Log) -> None:
    """It may end in an orderly way, and so may what it started."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, "trap 'exit 0' TERM; echo child is $$; sleep 600 & wait")
        group = await log.wait_for(r": child is (\d+)$")
        nursery.cancel_scope.cancel()
    await end_of_group(group)


@pytest.mark.usefixtures("_orphans")
async def test_a_daemon_that_ignores_sigterm_is_killed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its mercy."""
    monkeypatch.setattr("trio_uwsgi._program.daemons.MERCY", 0.1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, "trap '' TERM; echo child is $$; while :; do sleep 600; done")
        group = await log.wait_for(r": child is (\d+)$")
        nursery.cancel_scope.cancel()
    await end_of_group(group)


@pytest.mark.usefixtures("_orphans")
async def test_what_a_daemon_leaves_behind_is_killed(log: Log) -> None:
    """A program that forks into the background does not hold up its restart; a signal is told by its name."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running, "sleep 600 & echo child is $$; kill -USR1 $$")
        group = await log.wait_for(r": child is (\d+)$")
        assert "SIGUSR1" == await log.wait_for("ended with (SIG[A-Z0-9]+)")
        nursery.cancel_scope.cancel()
    await end_of_group(group)


async def end_of_group(group: str) -> None:
    """Wait until there is no process of this group, not even a zombie: those whose parent has ended are ours."""
    with trio.fail_after(SECONDS):
        while True:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-int(group), os.WNOHANG) != (0, 0):  # noqa: ASYNC222  # it does not block
                    pass
            try:
                os.killpg(int(group), 0)
            except ProcessLookupError:
                return
            await trio.sleep(0.01)


def test_a_daemon_lives_as_long_as_the_server(tmp_path: Path) -> None:
    """It is started when the server serves, is not touched by a reload, and is ended by a stop."""
    (tmp_path / "hello.py").write_text("async def app(scope, receive, send): ...\n")
    daemon = "trap 'echo ends > ended; exit 0' TERM; echo runs in $PWD; while :; do sleep 0.1; done"
    words = ("hello:app", "--processes", "1", "--lifespan", "off", "--attach-daemon", daemon)
    with running(tmp_path, *words) as server:
        server.read(f"runs in {tmp_path}")
        server.process.send_signal(signal.SIGHUP)
        server.read("reload")
        assert not (tmp_path / "ended").exists()
    assert "ends\n" == (tmp_path / "ended").read_text()
    assert 1 == server.said.count("runs in")
