"""What a real uWSGI runs in `test_spool.py`: queues jobs when told to, and runs them where a file `run` says so."""

from __future__ import annotations

import os
from typing import Any

import uwsgi

from tests.interop.apps.uwsgi_node import OWN
from tests.interop.apps.uwsgi_node import application as application

RECORD = os.path.abspath("ran")


def fill(jobs: list[dict[bytes, bytes]]) -> int:
    """Queue these jobs."""
    for job in jobs:
        uwsgi.spool(dict(job))
    return len(jobs)


def run(env: dict[Any, bytes]) -> int:
    """Note a job: who ran it, its vars, its body."""
    body = env.pop("body", b"")
    env.pop("spooler_task_name")
    with open(RECORD, "a") as record:
        record.write(repr(("uwsgi", env, body)) + "\n")
    return int(uwsgi.SPOOL_OK)


OWN["fill"] = fill
if os.path.exists("run"):
    uwsgi.spooler = run
