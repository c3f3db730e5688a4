"""What the scripts in `decorated` share: a file of lines, and a WSGI application that calls one function."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import uwsgi
import uwsgidecorators

_FILE = Path.cwd() / "noted"  # a spooler has another working directory
DECORATORS = hashlib.sha256(Path(uwsgidecorators.__file__).read_bytes()).hexdigest()


def note(*words: object) -> None:
    """Append a line."""
    fd = os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, " ".join(map(str, words)).encode() + b"\n")
    os.close(fd)


def place() -> str:
    """The member that runs the calling code."""
    if uwsgi.i_am_the_spooler():
        return "spooler"
    return f"mule {uwsgi.mule_id()}" if uwsgi.mule_id() else f"worker {uwsgi.worker_id()}"


def answering(begin: Callable[[], object]) -> Callable[..., Iterable[bytes]]:
    """An application that calls `begin` for each request, and answers which `uwsgidecorators` is in use."""

    def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        begin()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [DECORATORS.encode()]

    return application
