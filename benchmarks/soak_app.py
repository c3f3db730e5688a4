"""The application of `soak.py`. It uses every feature, and records what it has done.

It appends a line for each event to a file for each kind of event, with one write, so that a kill cannot cut a line. A
reload gives it another `VERSION`. A response is the version, many times, and then the result; so responses that are cut
or mixed are detected.
"""

from __future__ import annotations

import itertools
import os
import urllib.parse
from pathlib import Path
from typing import Any

import trio

from trio_uwsgi import uwsgi
from trio_uwsgi.errors import NodeClosed, NodeTimeout, NodeUnreachable

VERSION = 1
HERE = Path(__file__).parent
NODE = f"{HERE}/rpc.sock"
TARGETS = {1: "workers", 2: "worker2", 3: "mules", 4: "mule1", 5: "spooler", 6: "worker", 7: "mule", 8: ""}
COUNTER = itertools.count()


def note(kind: str, what: object) -> None:
    """Write a line, whole or not at all."""
    descriptor = os.open(HERE / kind, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{what}\n".encode())
    finally:
        os.close(descriptor)


def unique() -> str:
    """A number that is unique among all processes and calls."""
    return f"{os.getpid()}-{trio.current_time():.6f}-{next(COUNTER)}"


# ----- handlers


async def handle(signum: int) -> None:
    """A signal, of any target."""
    note("begun", signum)
    await trio.sleep(0.005)  # so that some kills hit a handler that runs
    note("ended", signum)


for number, target in TARGETS.items():
    uwsgi.register_signal(number, target, handle)
for number, target in {21: "mule1", 22: "spooler", 23: "worker"}.items():
    uwsgi.register_signal(number, target, handle)
uwsgi.add_cron(23, -1, -1, -1, -1, -1)
uwsgi.add_rb_timer(22, 1)
uwsgi.add_timer(21, 1)


@uwsgi.timer(1, target="mule2")
async def tick(signum: int) -> None:
    """The program of a mule: raises signals, and sends messages to the other mule."""
    note("begun", signum)
    raise_signal(1)
    raise_signal(5)
    post("1")
    note("ended", signum)


@uwsgi.mule_message_handler
async def message(text: uwsgi.MuleMessage) -> None:
    """A message; every tenth one increments the number in the file."""
    await trio.sleep(0.005)
    if text.endswith(b"0"):
        note("locked", await locked())
    note("again" if text.redelivered else "handled", text.decode())


@uwsgi.spool_handler
async def work(job: uwsgi.Job) -> None:
    """A job, which involves another member."""
    raise_signal(6)
    await trio.sleep(0.02)
    note("ran", job["number"])


@uwsgi.rpc_handler("double")
async def double(text: bytes) -> bytes:
    """For members, and for clients of the uwsgi socket."""
    return b"%d" % (2 * int(text))


# ----- requests


def raise_signal(signum: int) -> None:
    uwsgi.signal(signum)
    note("raised", signum)


def post(mule: str) -> None:
    text = unique()
    uwsgi.mule_msg(text, int(mule))
    note("posted", text)


async def count() -> int:
    """Increment a number that all workers share."""
    return await uwsgi.cache_inc("n")


async def total() -> int:
    return await uwsgi.cache_num("n")


async def cache(key: str) -> str:
    """All operations, in a cache that is too small for all the keys."""
    await uwsgi.cache_update(key, key * 50, 5, "small")
    found = await uwsgi.cache_get(key, "small")
    if key.endswith("7"):
        await uwsgi.cache_del(key, "small")
    return "" if found is None else found.decode()


async def locked() -> int:
    """Read, change and write a file under a lock that all members share."""
    async with uwsgi.locked(1):
        path = HERE / "number"
        number = int(path.read_text()) + 1
        await trio.sleep(0.001)
        (HERE / "new").write_text(str(number))
        os.replace(HERE / "new", path)
    return number


async def job() -> None:
    name = unique()
    await work.spool(number=name)
    note("queued", name)


async def rpc(number: str) -> str:
    """Call another worker, or this one, over the socket; a kill may interrupt it."""
    try:
        return (await uwsgi.rpc(NODE, "double", number, timeout=10)).decode()
    except (NodeClosed, NodeTimeout, NodeUnreachable) as error:
        return type(error).__name__


async def signal(number: str) -> None:
    raise_signal(int(number))


async def send(mule: str) -> None:
    post(mule)


PATHS = {f"/{func.__name__}": func for func in (count, total, cache, locked, job, rpc, signal, send)}


async def app(scope: Any, receive: Any, send: Any) -> None:  # Any: as ASGI has it
    """`/name?argument` calls a function of `PATHS`."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    words = urllib.parse.unquote(scope["query_string"].decode())
    answer = await PATHS[scope["path"]](*[words] if words else [])
    body = f"version {VERSION};" * 50 + ("" if answer is None else str(answer))
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body.encode()})
