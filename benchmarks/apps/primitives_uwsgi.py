"""What `primitives.py` asks of a real uWSGI, and of ours with `import uwsgi`: the same script in both.

A POST of `("local", (5000,))` runs `local(5000)`, and is answered with the `repr` of what that has measured. Worker and
mule tell each other what they have seen through a shared area of 64-bit slots.
"""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any  # what the commands take and give

import uwsgi

VALUE = b"v" * 100
KEYS = [f"key{number}" for number in range(50)]
MULE, TICK = 1, 2

# Byte offsets in the shared area: what the mule has handled, when it was raised, when it was handled; and times.
HANDLED, RAISED_AT, HANDLED_AT, TIMES = 0, 8, 16, 64
MOST = 4000  # times that are kept
PAUSE = 0.0005  # seconds until the worker looks again


def take(signum: int) -> None:
    """The mule's handler: counts, and keeps the time."""
    now = time.perf_counter_ns()
    count = uwsgi.sharedarea_read64(0, HANDLED)
    if count < MOST:
        uwsgi.sharedarea_write64(0, TIMES + 8 * count, now)
    uwsgi.sharedarea_write64(0, HANDLED_AT, now)
    uwsgi.sharedarea_write64(0, HANDLED, count + 1)


def echo(data: bytes) -> bytes:
    return data


uwsgi.register_signal(MULE, "mule1", take)
uwsgi.register_signal(TICK, "mule1", take)
uwsgi.register_rpc("echo", echo)


def per_call(function: Callable[[str], object], count: int) -> float:
    """Microseconds of one call, over this many, on 50 keys in turn."""
    keys = KEYS * max(1, count // len(KEYS))
    begun = time.perf_counter()
    for key in keys:
        function(key)
    return (time.perf_counter() - begun) / len(keys) * 1e6


def lock_and_unlock(key: str) -> None:
    uwsgi.lock(0)
    uwsgi.unlock(0)


def local(count: int) -> dict[str, float]:
    """What needs no other server and no mule."""
    for key in KEYS:
        uwsgi.cache_update(key, VALUE)
    assert VALUE == uwsgi.cache_get(KEYS[0]) == uwsgi.call(b"echo", VALUE)
    times = {
        "cache_get of 100 B": per_call(uwsgi.cache_get, count),
        "cache_update of 100 B": per_call(lambda key: uwsgi.cache_update(key, VALUE), count),
        "lock and unlock, free": per_call(lock_and_unlock, count),
        "call of a local function": per_call(lambda key: uwsgi.call(b"echo", VALUE), count),
    }
    uwsgi.cache_del("number")
    times["cache_inc"] = per_call(lambda key: uwsgi.cache_inc("number"), count)
    return times


def remote(node: str, count: int) -> list[float]:
    """Microseconds of each of so many round trips."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        answer = uwsgi.rpc(node, b"echo", VALUE)
        times.append((time.perf_counter() - begun) * 1e6)
        assert answer == VALUE
    return times


def remote_at_once(node: str, count: int, at_once: int) -> float:
    """Calls per second with so many at once, each in a thread."""

    def some() -> None:
        for _ in range(count // at_once):
            assert uwsgi.rpc(node, b"echo", VALUE) == VALUE

    threads = [threading.Thread(target=some) for _ in range(at_once)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count // at_once * at_once / (time.perf_counter() - begun)


def signals(count: int) -> list[float]:
    """Microseconds from raising a signal to its handler in a mule, one after the other."""
    uwsgi.sharedarea_write64(0, HANDLED, 0)
    latencies = []
    for number in range(min(count, MOST)):
        raised = time.perf_counter_ns()
        uwsgi.signal(MULE)
        give_up = time.perf_counter() + 1
        while uwsgi.sharedarea_read64(0, HANDLED) <= number and time.perf_counter() < give_up:
            time.sleep(PAUSE)
        latencies.append((uwsgi.sharedarea_read64(0, TIMES + 8 * number) - raised) / 1e3)
    return latencies


def burst(count: int) -> int:
    """Raise so many as fast as possible; one that is refused is raised again. Gives the time of the first one."""
    uwsgi.sharedarea_write64(0, HANDLED, 0)
    begun = time.perf_counter_ns()
    for _ in range(count):
        while True:
            try:
                uwsgi.signal(MULE)
                break
            except Exception:  # each server has another error for a full queue
                time.sleep(PAUSE)
    return begun


def handled() -> tuple[int, int]:
    """How many the mule has handled since, and the time of the last one."""
    return uwsgi.sharedarea_read64(0, HANDLED), uwsgi.sharedarea_read64(0, HANDLED_AT)


def begin_ticks() -> None:
    """Have the mule note when a timer of a second ticks."""
    uwsgi.sharedarea_write64(0, HANDLED, 0)
    uwsgi.add_timer(TICK, 1)


def ticks() -> list[int]:
    """When it has ticked."""
    return [uwsgi.sharedarea_read64(0, TIMES + 8 * number) for number in range(uwsgi.sharedarea_read64(0, HANDLED))]


def sleep(seconds: float) -> None:
    """Be stuck."""
    time.sleep(seconds)


COMMANDS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (local, remote, remote_at_once, signals, burst, handled, begin_ticks, ticks, sleep)
}


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = b"Hello"
    if environ["REQUEST_METHOD"] == "POST":
        name, arguments = ast.literal_eval(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        body = repr(COMMANDS[name](*arguments)).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
