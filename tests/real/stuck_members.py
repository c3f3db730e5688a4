"""An application whose members get stuck, in every possible way. Served by test_watchdog.py, in processes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from trio_uwsgi import uwsgi

BLOCKING = time.sleep


def stick(how: str) -> None:
    """Be stuck."""
    if how == "sleep":
        BLOCKING(3600)
    elif how == "busy":
        while True:
            pass
    elif how == "native":  # in C, with the GIL
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif how == "own":
        uwsgi.set_user_harakiri(0.5)
        BLOCKING(3600)
    elif how == "late":
        BLOCKING(1.75)
    elif how == "nap":
        BLOCKING(2)


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Be stuck as the path says, and answer with the number of the process."""
    stick(environ["PATH_INFO"][1:])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


@uwsgi.mule_message_handler
async def handle(message: bytes) -> None:
    """Be stuck on the mule's loop."""
    stick(message.decode())


@uwsgi.spool_handler
async def work(job: uwsgi.Job) -> int:
    """Be stuck on the spooler's loop."""
    stick(job["how"])
    return uwsgi.SPOOL_OK
