"""Calls every function of the module `uwsgi`: the expressions of module_calls.txt, under a real uWSGI and under ours.

The outcomes of a place are a file of its name: what each expression was, or which of Python's own exceptions it raised.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import uwsgi
import uwsgidecorators  # noqa: F401  # it assigns the hooks, which this module then does

from tests.interop.module_calls import CALLS

OURS = hasattr(uwsgi.register_signal, "__code__")
FOLDER = Path.cwd()


def outcome(expression: str, names: dict[str, Any]) -> str:
    """The value of an expression, or the exception that it raised."""
    try:
        value = eval(expression, names)
    except Exception as error:
        return f"raises {next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == 'builtins')}"
    return bytes.__repr__(value) if isinstance(value, bytes) else repr(value)


def evaluate(place: str) -> None:
    """Write a file with the outcomes of all that belongs to a place, in order."""
    unfinished = FOLDER / f"{place}.unfinished"
    r, w = os.pipe()
    with contextlib.suppress(FileNotFoundError):
        os.unlink("listening")  # of another place
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("listening")
    listener.listen()
    names = {"uwsgi": uwsgi, "f": handler, "r": r, "w": w}
    found = {}
    for call in CALLS[place]:
        if OURS or not call.mark:
            found[call.name] = "is the last one that began"
            unfinished.write_text(json.dumps(found))
            found[call.name] = outcome(call.expression, names)
    listener.close()
    os.close(r)
    os.close(w)
    unfinished.write_text(json.dumps(found))
    unfinished.rename(FOLDER / place)


def handler(*args: object) -> bytes:
    """A handler of signals, and a function for RPC."""
    return b"handled"


def fails() -> bytes:
    """A function for RPC that raises."""
    raise ValueError("on purpose")


def on_message(message: bytes) -> None:
    """In a mule: only one message means anything."""
    if message == b"evaluate":
        evaluate("mule")


def on_job(job: dict[Any, bytes]) -> int:
    """In a spooler: only one job means anything."""
    if b"evaluate" in job:
        evaluate("spooler")
    return int(uwsgi.SPOOL_OK)


def begin(place: str) -> None:
    """Have the outcomes of a place written; those of a mule and a spooler follow later."""
    if place == "mule":
        uwsgi.mule_msg(b"evaluate", 1)
    elif place == "spooler":
        uwsgi.spool({b"evaluate": b"1"})
    else:
        evaluate(place)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """A request for the name of a place."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    place = environ["PATH_INFO"][1:]
    if place:
        begin(place)
    return [b"begun"]


uwsgi.spooler = on_job
uwsgi.mule_msg_hook = on_message
uwsgi.post_fork_hook = lambda: None
uwsgi.register_rpc("echo", lambda *args: b"".join(args))
uwsgi.register_rpc("count", lambda *args: b"%d" % len(args))
uwsgi.register_rpc("fails", fails)
uwsgi.register_rpc("text", lambda: "text")
uwsgi.register_rpc("number", lambda: 5)
uwsgi.register_rpc("nothing", lambda: None)
evaluate("import")
