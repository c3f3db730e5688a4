"""What a real uWSGI runs in the tests of interoperability: functions, signals, and a page that executes commands.

A command is a POST whose body is the `repr` of `(name, arguments)`; the answer is the `repr` of what came of it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable
from typing import Any  # what commands take and return differs from one to the next

import uwsgi

seen: list[int] = []


def seen_times(signum: int) -> int:
    """How often the handler of the signal has run."""
    return seen.count(signum)


def hello(*args: bytes) -> bytes:
    return b"Hello " + b",".join(args)


def noargs(*args: bytes) -> bytes:
    return b"n=%d" % len(args)


def empty() -> bytes:
    return b""


def big() -> bytes:
    return b"x" * 70_000


def exact(size: bytes) -> bytes:
    return b"y" * int(size)


def pattern(size: bytes) -> bytes:
    """Bytes of which no piece of 256 looks like another one nearby."""
    return b"".join(b"%07d " % i for i in range(int(size) // 8 + 1))[: int(size)]


def digest(*args: bytes) -> bytes:
    """How many arguments came, and a hash over all that they are."""
    return b"%d %s" % (len(args), hashlib.sha256(repr(args).encode()).hexdigest().encode())


def fails() -> bytes:
    raise ValueError("on purpose")


def text() -> Any:
    return "text \u2603"


def number() -> Any:
    return 5


for function in (hello, noargs, empty, big, exact, pattern, digest, fails, text, number):
    uwsgi.register_rpc(function.__name__, function)
for signum in (7, 8, 255):
    uwsgi.register_signal(signum, "worker", seen.append)


def rpc(node: str, name: str, *args: bytes) -> Any:
    return uwsgi.rpc(node, name.encode(), *args)


def remote_signal(signum: int, node: str) -> Any:
    return uwsgi.signal(signum, node)


OWN: dict[str, Callable[..., Any]] = {"rpc": rpc, "remote_signal": remote_signal, "seen_times": seen_times}


# What the application answered when the conversation of `test_replay.py` was recorded.
RECORDED = {"/path/a b": b"\n", "/post": b"uwsgi.version -> b'2.0.31'\n"}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Execute one command."""
    if environ["PATH_INFO"] in RECORDED:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [RECORDED[environ["PATH_INFO"]]]
    name, args = ast.literal_eval(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
    try:
        outcome = ("returned", (OWN.get(name) or getattr(uwsgi, name))(*args))
    except Exception as error:
        outcome = ("raised", (type(error).__name__, str(error)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(outcome).encode()]
