"""A spooler of production: what its log says about jobs that fail, and how often it is woken."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest
import trio

import trio_uwsgi
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._spool.files import SpoolFolder

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.real


async def no_app(scope: object, receive: object, send: object) -> None:
    """Serves nothing."""


async def test_a_job_that_fails_again_and_again_has_two_tracebacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first and the last try are told with a traceback, each in between in one line; the last line says where the
    job is.
    """
    registry = Registry()
    gone = trio.Event()

    @registry.spool_handler(name="f")
    async def fail(job: uwsgi.Job) -> None:
        if job.tries == 5:
            gone.set()
        raise ValueError(f"number {job.tries}")

    folder = tmp_path / "jobs"
    config = Config(
        http="127.0.0.1:0", spooler=str(folder), spooler_retry=0.01, spooler_retry_longest=0.01, spooler_max_tries=5
    )
    with caplog.at_level(logging.WARNING), trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            runtime = await nursery.start(
                lambda task_status: trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)
            )
            path = (await runtime.spool(ud_spool_func="f")).decode()
            await gone.wait()
            runtime.stop()
    (dead,) = (path for path in (folder / "dead").iterdir() if path.suffix != ".report")
    lines = [(record.levelname, record.getMessage(), record.exc_info is not None) for record in caplog.records]
    again = [
        line[1].partition(" retrying in ")[0] + line[1].partition(" s: ")[2]
        for line in lines
        if "retrying in" in line[1]
    ]
    assert [
        f"spooler1: job f: attempt {number} of 5 failed (ValueError: number {number});{path}" for number in range(1, 5)
    ] == again
    assert [
        ("ERROR", "spooler1: job f failed: ValueError: number 1", True),
        ("ERROR", "spooler1: job f failed: ValueError: number 5", True),
        ("ERROR", f"spooler1: job f failed 5 times (ValueError: number 5); moved to {dead}", False),
    ] == [line for line in lines if line[0] == "ERROR"]
    assert 7 == len(lines)


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks that are a spooler's."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.startswith(("trio_uwsgi._spool.directory", "trio_uwsgi._runtime.spool")):
            self.names.append(task.name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system has no inotify")
async def test_an_idle_spooler_sleeps(tmp_path: Path) -> None:
    """Nobody is woken to look whether there is something new, which the system tells."""
    registry = Registry()
    ran = trio.Event()

    @registry.spooler
    async def note(job: uwsgi.Job) -> None:
        ran.set()

    config = Config(http="127.0.0.1:0", spooler=str(tmp_path / "jobs"), spooler_frequency=0.01)
    steps = Steps()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            runtime = await nursery.start(
                lambda task_status: trio_uwsgi.serve(no_app, config, registry=registry, task_status=task_status)
            )
            await trio.sleep(0.1)
            trio.lowlevel.add_instrument(steps)
            await trio.sleep(0.3)
            trio.lowlevel.remove_instrument(steps)
            SpoolFolder(str(tmp_path / "jobs")).write([(b"a", b"1")])
            await ran.wait()
            runtime.stop()
    assert [] == steps.names
