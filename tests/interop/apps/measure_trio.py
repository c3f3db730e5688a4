"""What ours runs for `benchmarks/primitives.py`: the commands of `trio_node.py`, and those of `measure_uwsgi.py`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from tests.interop.apps.trio_node import OWN
from tests.interop.apps.trio_node import app as app
from trio_uwsgi import uwsgi
from trio_uwsgi.errors import SignalQueueFull

VALUE = b"v" * 100
KEYS = [f"key{number}" for number in range(50)]
MULE = 1


class Handled:
    """What the mule's handler has seen since it was told how much to expect."""

    def __init__(self, expected: int = 0) -> None:
        self.count = 0
        self.expected = expected
        self.all = trio.Event()
        self.handled_at = 0


handled = Handled()


@uwsgi.signal_handler(MULE, target="mule1")
async def take(signum: int) -> None:
    """The mule's handler: counts, and keeps the time."""
    handled.handled_at = time.perf_counter_ns()
    handled.count += 1
    if handled.count == handled.expected:
        handled.all.set()


@uwsgi.rpc_handler("echo")
async def echo(data: bytes) -> bytes:
    return data


@uwsgi.rpc_handler("echo in a thread")
def echo_in_a_thread(data: bytes) -> bytes:
    return data


async def per_call(function: Callable[[str], Awaitable[object]], count: int) -> float:
    """Microseconds of one call, over this many, on 50 keys in turn."""
    keys = KEYS * (count // len(KEYS))
    begun = time.perf_counter()
    for key in keys:
        await function(key)
    return (time.perf_counter() - begun) / len(keys) * 1e6


def per_plain_call(function: Callable[[str], object], count: int) -> float:
    """The same for what is not awaited."""
    keys = KEYS * (count // len(KEYS))
    begun = time.perf_counter()
    for key in keys:
        function(key)
    return (time.perf_counter() - begun) / len(keys) * 1e6


async def lock_and_unlock(key: str) -> None:
    await uwsgi.lock(0)
    uwsgi.unlock(0)


async def measure(count: int) -> dict[str, float]:
    """What needs no other server and no mule. The plain object of a cache is what code without await uses."""
    for key in KEYS:
        await uwsgi.cache_update(key, VALUE)
    assert await uwsgi.cache_get(KEYS[0]) == VALUE == await uwsgi.call("echo", VALUE)
    plain = uwsgi.cache("c1")
    times = {
        "cache_get": await per_call(uwsgi.cache_get, count),
        "cache_set": await per_call(lambda key: uwsgi.cache_set(key, VALUE), count),
        "cache_update": await per_call(lambda key: uwsgi.cache_update(key, VALUE), count),
        "call": await per_call(lambda key: uwsgi.call("echo", VALUE), count),
        "call, in a thread": await per_call(lambda key: uwsgi.call("echo in a thread", VALUE), count // 10),
        "lock and unlock": await per_call(lock_and_unlock, count),
        "cache_get, plain": per_plain_call(plain.get, count),
        "cache_set, plain": per_plain_call(lambda key: plain.set(key, VALUE), count),
        "cache_update, plain": per_plain_call(lambda key: plain.update(key, VALUE), count),
    }
    await uwsgi.cache_del("number")
    times["cache_inc"] = await per_call(lambda key: uwsgi.cache_inc("number"), count)
    times["cache_inc, plain"] = per_plain_call(lambda key: plain.inc("number"), count)
    return times


async def measure_rpc(node: str, count: int) -> list[float]:
    """Each of so many round trips."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        answer = await uwsgi.rpc(node, "echo", VALUE)
        times.append((time.perf_counter() - begun) * 1e6)
        assert answer == VALUE
    return times


async def measure_signals(count: int) -> list[float]:
    """From raising a signal to its handler in a mule, one after the other, each while nothing else happens."""
    global handled
    latencies = []
    for _ in range(count):
        handled = Handled(1)
        await trio.sleep(0.0005)
        raised_at = time.perf_counter_ns()
        uwsgi.signal(MULE)
        with trio.fail_after(1):
            await handled.all.wait()
        latencies.append((handled.handled_at - raised_at) / 1e3)
    return latencies


async def measure_burst(count: int) -> dict[str, float]:
    """Raise so many as fast as possible; a raiser who is told that the queue is full lets others run, and repeats."""
    global handled
    handled, refused = Handled(count), 0
    begun = time.perf_counter_ns()
    for _ in range(count):
        while True:
            try:
                uwsgi.signal(MULE)
            except SignalQueueFull:
                refused += 1
                await trio.lowlevel.checkpoint()
            else:
                break
    raised = time.perf_counter_ns() - begun
    with trio.move_on_after(10):
        await handled.all.wait()
    spent = handled.handled_at - begun
    lost = count - handled.count
    return {"raised": count / raised * 1e9, "handled": handled.count / spent * 1e9, "lost": lost, "refused": refused}


OWN.update(measure=measure, measure_rpc=measure_rpc, measure_signals=measure_signals, measure_burst=measure_burst)
