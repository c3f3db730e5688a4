"""What the log says about jobs that fail, with the journal of production."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio

import trio_uwsgi
from trio_uwsgi import Config, Registry, uwsgi

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
        line[1].partition(" is tried again in ")[0] + line[1].partition(" s: ")[2]
        for line in lines
        if "tried again" in line[1]
    ]
    assert [
        f"spooler1: job f failed for the {number}. time (ValueError: number {number}) and{path}"
        for number in range(1, 5)
    ] == again
    assert [
        ("ERROR", "spooler1: job f failed: ValueError: number 1", True),
        ("ERROR", "spooler1: job f failed: ValueError: number 5", True),
        ("ERROR", f"spooler1: job f failed 5 times (ValueError: number 5) and was laid aside: {dead}", False),
    ] == [line for line in lines if line[0] == "ERROR"]
    assert 7 == len(lines)
