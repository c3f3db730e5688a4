"""What `primitives.py` and `growth.py` ask of ours in its own style: calls that are awaited, in an ASGI application.

A POST is as in `primitives_uwsgi.py`, with the same names for the same calls.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Awaitable, Callable
from typing import Any  # ASGI's arguments, and what the commands take and give

import trio

from trio_uwsgi import uwsgi

VALUE = b"v" * 100
KEYS = [f"key{number}" for number in range(50)]
HOUR = 3600.0
NEVER = 3  # a signal that is not raised while it is measured


@uwsgi.rpc_handler("echo")
async def echo(data: bytes) -> bytes:
    return data


@uwsgi.signal_handler(NEVER, target="worker1")
async def ignore(signum: int) -> None:
    """A timer has to have a handler."""


async def per_call(function: Callable[[str], Awaitable[object]], count: int) -> float:
    """Microseconds of one call, over this many, on 50 keys in turn."""
    keys = KEYS * max(1, count // len(KEYS))
    begun = time.perf_counter()
    for key in keys:
        await function(key)
    return (time.perf_counter() - begun) / len(keys) * 1e6


async def lock_and_unlock(key: str) -> None:
    async with uwsgi.locked(0):
        pass


async def local(count: int) -> dict[str, float]:
    """What needs no other server and no mule."""
    for key in KEYS:
        await uwsgi.cache_update(key, VALUE)
    assert VALUE == await uwsgi.cache_get(KEYS[0]) == await uwsgi.call("echo", VALUE)
    times = {
        "cache_get of 100 B": await per_call(uwsgi.cache_get, count),
        "cache_update of 100 B": await per_call(lambda key: uwsgi.cache_update(key, VALUE), count),
        "lock and unlock, free": await per_call(lock_and_unlock, count),
        "call of a local function": await per_call(lambda key: uwsgi.call("echo", VALUE), count),
    }
    await uwsgi.cache_del("number")
    times["cache_inc"] = await per_call(lambda key: uwsgi.cache_inc("number"), count)
    return times


async def remote(node: str, count: int) -> list[float]:
    """Microseconds of each of so many round trips."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        answer = await uwsgi.rpc(node, "echo", VALUE)
        times.append((time.perf_counter() - begun) * 1e6)
        assert answer == VALUE
    return times


async def remote_at_once(node: str, count: int, at_once: int) -> float:
    """Calls per second with so many at once, each in a task."""

    async def some() -> None:
        for _ in range(count // at_once):
            assert await uwsgi.rpc(node, "echo", VALUE) == VALUE

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(some)
    return count // at_once * at_once / (time.perf_counter() - begun)


async def timers(count: int) -> float:
    """Add so many timers that do not tick meanwhile; microseconds of each."""
    begun = time.perf_counter()
    for number in range(count):
        uwsgi.add_timer(NEVER, HOUR + number / 1e3)
        if number % 1000 == 0:
            await trio.lowlevel.checkpoint()
    return (time.perf_counter() - begun) / count * 1e6


async def cache_items(count: int, calls: int) -> dict[str, float]:
    """Put so many items into the cache; microseconds of an update of each, and of a get of some of them."""
    begun = time.perf_counter()
    for number in range(count):
        await uwsgi.cache_update(f"item{number}", VALUE)
    filled = time.perf_counter()
    for number in range(calls):
        await uwsgi.cache_get(f"item{number * 7919 % count}")
    got = time.perf_counter()
    return {"update, µs": (filled - begun) / count * 1e6, "get, µs": (got - filled) / calls * 1e6}


async def sleep(seconds: float) -> None:
    """Wait for longer than the limit."""
    await trio.sleep(seconds)


COMMANDS: dict[str, Callable[..., Awaitable[Any]]] = {
    function.__name__: function for function in (local, remote, remote_at_once, timers, cache_items, sleep)
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError("this application has no lifespan")
    body, sent, more = b"Hello", b"", scope["method"] == "POST"
    while more:
        event = await receive()
        sent, more = sent + event["body"], event["more_body"]
    if sent:
        name, arguments = ast.literal_eval(sent.decode())
        body = repr(await COMMANDS[name](*arguments)).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
