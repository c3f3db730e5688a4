"""What ours runs in the tests of interoperability: the functions and signals of `uwsgi_node.py` in our style, and the
same commands.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any  # ASGI's arguments; what commands take and return differs from one to the next

from trio_uwsgi import uwsgi

seen: Counter[int] = Counter()


async def seen_times(signum: int) -> int:
    """How often the handler of the signal has run."""
    return seen[signum]


@uwsgi.rpc_handler("hello")
def hello(*args: bytes) -> bytes:
    return b"Hello " + b",".join(args)


@uwsgi.rpc_handler("noargs")
async def noargs(*args: bytes) -> bytes:
    return b"n=%d" % len(args)


@uwsgi.rpc_handler("empty")
async def empty() -> bytes:
    return b""


@uwsgi.rpc_handler("big")
async def big() -> bytes:
    return b"x" * 70_000


@uwsgi.rpc_handler("exact")
async def exact(size: bytes) -> bytes:
    return b"y" * int(size)


@uwsgi.rpc_handler("pattern")
def pattern(size: bytes) -> bytes:
    """Bytes of which no piece of 256 looks like another one nearby."""
    return b"".join(b"%07d " % i for i in range(int(size) // 8 + 1))[: int(size)]


@uwsgi.rpc_handler("digest")
async def digest(*args: bytes) -> bytes:
    """How many arguments came, and a hash over all that they are."""
    return b"%d %s" % (len(args), hashlib.sha256(repr(args).encode()).hexdigest().encode())


@uwsgi.rpc_handler("fails")
async def fails() -> bytes:
    raise ValueError("on purpose")


@uwsgi.rpc_handler("text")
async def text() -> Any:
    return "text \u2603"


@uwsgi.rpc_handler("number")
async def number() -> Any:
    return 5


@uwsgi.signal_handler(7)
async def seven(signum: int) -> None:
    seen[signum] += 1


@uwsgi.signal_handler(8)
def eight(signum: int) -> None:
    seen[signum] += 1


@uwsgi.signal_handler(255)
async def last(signum: int) -> None:
    seen[signum] += 1


OWN: dict[str, Callable[..., Awaitable[Any]]] = {"seen_times": seen_times}


# What the application answered when the conversation of `test_replay.py` was recorded.
RECORDED = {"/path/a b": b"\n", "/post": b"uwsgi.version -> b'2.0.31'\n"}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Execute one command."""
    if scope["type"] != "http":
        raise NotImplementedError("this application has no lifespan")
    if scope["path"] in RECORDED:
        # Servers pass a name on as it is written, and it was recorded like this.
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/plain")]})
        await send({"type": "http.response.body", "body": RECORDED[scope["path"]]})
        return
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    name, args = ast.literal_eval(body.decode())
    try:
        result = (OWN.get(name) or getattr(uwsgi, name))(*args)
        outcome = ("returned", await result if inspect.isawaitable(result) else result)
    except Exception as error:
        outcome = ("raised", (type(error).__name__, str(error)))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": repr(outcome).encode()})
