"""What ours runs in `test_spool.py`: the same as `spool_uwsgi.py`."""

from __future__ import annotations

import os

from tests.interop.apps.trio_node import OWN
from tests.interop.apps.trio_node import app as app
from trio_uwsgi import uwsgi

RECORD = os.path.abspath("ran")


async def fill(jobs: list[dict[bytes, bytes]]) -> int:
    """Queue these jobs."""
    for job in jobs:
        await uwsgi.spool(job)
    return len(jobs)


OWN["fill"] = fill
if os.path.exists("run"):

    @uwsgi.spooler
    async def run(job: uwsgi.Job) -> None:
        """Note a job: who ran it, its vars, its body."""
        with open(RECORD, "a") as record:
            record.write(repr(("ours", dict(job.vars), job.body)) + "\n")
