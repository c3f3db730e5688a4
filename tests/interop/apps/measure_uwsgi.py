"""What a real uWSGI runs for `benchmarks/primitives.py`: the commands of `uwsgi_node.py`, and some that measure.

Each gives microseconds, or counts. What worker and mule tell each other goes through a shared area of 64-bit slots.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import uwsgi

from tests.interop.apps.uwsgi_node import OWN
from tests.interop.apps.uwsgi_node import application as application

VALUE = b"v" * 100
KEYS = [f"key{number}" for number in range(50)]
MULE = 1

# Byte offsets in the shared area.
HANDLED, RAISED_AT, HANDLED_AT, LATENCIES = 0, 8, 16, 64
MOST = 4000  # latencies that are kept


def take(signum: int) -> None:
    """The mule's handler: counts, and keeps the time since the signal was raised."""
    now = time.perf_counter_ns()
    count = uwsgi.sharedarea_read64(0, HANDLED)
    if count < MOST:
        uwsgi.sharedarea_write64(0, LATENCIES + 8 * count, now - uwsgi.sharedarea_read64(0, RAISED_AT))
    uwsgi.sharedarea_write64(0, HANDLED_AT, now)
    uwsgi.sharedarea_write64(0, HANDLED, count + 1)


def echo(data: bytes) -> bytes:
    return data


uwsgi.register_signal(MULE, "mule1", take)
uwsgi.register_rpc("echo", echo)


def per_call(function: Callable[[str], object], count: int) -> float:
    """Microseconds of one call, over this many, on 50 keys in turn."""
    keys = KEYS * (count // len(KEYS))
    begun = time.perf_counter()
    for key in keys:
        function(key)
    return (time.perf_counter() - begun) / len(keys) * 1e6


def lock_and_unlock(key: str) -> None:
    uwsgi.lock(0)
    uwsgi.unlock(0)


def measure(count: int) -> dict[str, float]:
    """What needs no other server and no mule."""
    for key in KEYS:
        uwsgi.cache_update(key, VALUE)
    assert uwsgi.cache_get(KEYS[0]) == VALUE == uwsgi.call(b"echo", VALUE)
    times = {
        "cache_get": per_call(uwsgi.cache_get, count),
        "cache_set": per_call(lambda key: uwsgi.cache_set(key, VALUE), count),  # of keys that exist
        "cache_update": per_call(lambda key: uwsgi.cache_update(key, VALUE), count),
        "call": per_call(lambda key: uwsgi.call(b"echo", VALUE), count),
        "lock and unlock": per_call(lock_and_unlock, count),
    }
    uwsgi.cache_del("number")
    times["cache_inc"] = per_call(lambda key: uwsgi.cache_inc("number"), count)
    return times


def measure_rpc(node: str, count: int) -> list[float]:
    """Each of so many round trips."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        answer = uwsgi.rpc(node, b"echo", VALUE)
        times.append((time.perf_counter() - begun) * 1e6)
        assert answer == VALUE
    return times


def measure_signals(count: int) -> list[float]:
    """From raising a signal to its handler in a mule, one after the other."""
    uwsgi.sharedarea_write64(0, HANDLED, 0)
    for number in range(count):
        uwsgi.sharedarea_write64(0, RAISED_AT, time.perf_counter_ns())
        uwsgi.signal(MULE)
        give_up = time.perf_counter() + 1
        while uwsgi.sharedarea_read64(0, HANDLED) <= number and time.perf_counter() < give_up:
            time.sleep(0.0005)
    return [uwsgi.sharedarea_read64(0, LATENCIES + 8 * number) / 1e3 for number in range(count)]


def measure_burst(count: int) -> dict[str, float]:
    """Raise so many as fast as possible; count what was handled once nothing more happens."""
    uwsgi.sharedarea_write64(0, HANDLED, 0)
    begun = time.perf_counter_ns()
    for _ in range(count):
        uwsgi.signal(MULE)
    raised = time.perf_counter_ns() - begun
    handled, last = 0, -1
    while handled < count and handled != last:
        time.sleep(0.3)
        handled, last = uwsgi.sharedarea_read64(0, HANDLED), handled
    spent = uwsgi.sharedarea_read64(0, HANDLED_AT) - begun
    return {"raised": count / raised * 1e9, "handled": handled / spent * 1e9, "lost": count - handled, "refused": 0}


OWN.update(measure=measure, measure_rpc=measure_rpc, measure_signals=measure_signals, measure_burst=measure_burst)
