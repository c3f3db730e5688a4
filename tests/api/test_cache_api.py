"""Caches as applications use them."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_uwsgi
from trio_uwsgi import Cache, Config, Registry, uwsgi
from trio_uwsgi._caches.caches import LocalCache
from trio_uwsgi.errors import (
    BootError,
    CacheError,
    CacheFull,
    CacheItemTooLarge,
    ConfigError,
    NodeUnreachable,
    NotServing,
)
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from tests.api.conftest import InMule
    from trio_uwsgi._apps.asgi_exchange import Receive, Send


async def use(cache: str) -> None:
    """Everything that can be done with a cache of 3 items, here or on another node."""
    assert await uwsgi.cache_get("a", cache) is None
    assert await uwsgi.cache_set("a", b"1", cache=cache)
    assert not await uwsgi.cache_set("a", "2", cache=cache)
    assert b"1" == await uwsgi.cache_get(b"a", cache)
    await uwsgi.cache_update("a", bytes(range(256)), cache=cache)
    assert bytes(range(256)) == await uwsgi.cache_get("a", cache)
    assert await uwsgi.cache_exists("a", cache)
    assert not await uwsgi.cache_exists("b", cache)
    assert await uwsgi.cache_del("a", cache)
    assert not await uwsgi.cache_del("a", cache)
    assert [5, 3, 12, 2] == [
        await uwsgi.cache_inc("n", 5, cache=cache),
        await uwsgi.cache_dec("n", 2, cache=cache),
        await uwsgi.cache_mul("n", 4, cache=cache),
        await uwsgi.cache_div("n", 5, cache=cache),
    ]
    assert -1 == await uwsgi.cache_div("n", -2, cache=cache)
    assert (-1, 0) == (await uwsgi.cache_num("n", cache), await uwsgi.cache_num("none", cache))
    for key in ("b", "c"):
        await uwsgi.cache_update(key, "x", cache=cache)
    assert [b"b", b"c", b"n"] == sorted(await uwsgi.cache_keys(cache))
    with pytest.raises(CacheFull):
        await uwsgi.cache_set("d", "x", cache=cache)
    with pytest.raises(CacheItemTooLarge):
        await uwsgi.cache_update("b", bytes(1001), cache=cache)
    with pytest.raises(CacheError, match="is not a number"):
        await uwsgi.cache_inc("b", cache=cache)
    with pytest.raises(CacheError, match="is not a number"):
        await uwsgi.cache_num("b", cache)
    with pytest.raises(CacheError, match="divided by 0"):
        await uwsgi.cache_div("n", 0, cache=cache)
    with pytest.raises(CacheError):
        await uwsgi.cache_update("b", "x", -1, cache)
    await uwsgi.cache_clear(cache)
    assert [] == await uwsgi.cache_keys(cache)
    with pytest.raises(CacheError, match="there is no cache 'other'"):
        await uwsgi.cache_get("a", cache.replace("c", "other", 1))


@pytest.mark.parametrize("stored", [False, True])
async def test_a_local_cache(
    in_mule: InMule, autojump_clock: trio.testing.MockClock, stored: bool, tmp_path: Path
) -> None:
    """All calls, in memory and with a file; the first cache needs no name."""

    async def program() -> None:
        await use("c")
        await uwsgi.cache_set("a", "first")
        assert b"first" == uwsgi.cache().get("a") == uwsgi.cache("c").get(b"a")

    store = str(tmp_path / "c.store") if stored else None
    await in_mule(program, caches=[Cache("c", items=3, max_value=1000, store=store)])


@pytest.mark.real
async def test_a_cache_of_another_node(tmp_path: Path) -> None:
    """The same calls with the same results, from a program outside of members."""
    node = str(tmp_path / "n.sock")

    async def start(task_status: trio.TaskStatus[trio_uwsgi.Runtime]) -> None:
        config = Config(socket=node, caches=[Cache("c", items=3, max_value=1000)])
        await trio_uwsgi.serve(no_app, config, registry=Registry(), task_status=task_status)

    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(start)
        await use(f"c@{node}")
        await uwsgi.cache_set("a", "x", 100, f"@{node}")
        assert b"x" == await uwsgi.cache_get("a", f"@{node}")
        runtime.stop()


async def no_app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    raise NotImplementedError


async def test_items_expire_at_their_instant(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """On the test's clock, and not at the next sweep."""

    async def program() -> None:
        await uwsgi.cache_set("a", "x", 10)
        await trio.sleep(9.99)
        assert await uwsgi.cache_exists("a")
        await trio.sleep(0.01)
        assert await uwsgi.cache_get("a") is None

    await in_mule(program, caches=[Cache("c", items=3)])


async def test_increments_are_exact(uwsgi_registry: Registry, autojump_clock: trio.testing.MockClock) -> None:
    """100,000 from 50 tasks, and 2,000 from two threads beside them."""
    totals = []
    done = trio.Event()

    @uwsgi_registry.signal_handler(1)
    async def count(signum: int) -> None:
        cache = uwsgi.cache()

        async def task() -> None:
            for _ in range(2000):
                await uwsgi.cache_inc("n")

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(task)
            for _ in range(2):
                nursery.start_soon(trio.to_thread.run_sync, lambda: [cache.inc("n") for _ in range(1000)])
        totals.append(await uwsgi.cache_num("n"))
        done.set()

    async with open_runtime(config=Config(caches=[Cache("c", items=1)]), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await done.wait()
    assert [102_000] == totals


async def test_without_caches(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """The error says how to configure one; outside of a runtime, where caches work."""

    async def program() -> None:
        with pytest.raises(CacheError, match=r"set Config\(caches="):
            await uwsgi.cache_get("a")
        with pytest.raises(CacheError, match=r"set Config\(caches="):
            uwsgi.cache("c")

    await in_mule(program)
    with pytest.raises(NotServing):
        await uwsgi.cache_get("a")


WRITER = """
import sys, time
from trio_uwsgi._caches.caches import LocalCache
from trio_uwsgi.config.options import Cache
cache = LocalCache(Cache("c", items=20_000, store=sys.argv[1]), time.time)
for number in range(10_000):
    cache.update("key%d" % number, "value%d" % number)
    cache.inc("total")
    sys.stdout.write("%d\\n" % number)
    sys.stdout.flush()
"""


@pytest.mark.real
@pytest.mark.parametrize("acknowledged", [10, 3000])
async def test_a_store_survives_a_kill(
    in_mule: InMule, tmp_path: Path, acknowledged: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Killed in the middle of 10,000 updates, it opens again, and has every one that was acknowledged."""
    store = str(tmp_path / "c.store")
    command = [sys.executable, "-c", WRITER, store]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:  # noqa: ASYNC220  # no other task waits
        assert writer.stdout is not None
        for _ in range(acknowledged):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        last = int((writer.stdout.read().split() or [str(acknowledged - 1).encode()])[-1])

    async def program() -> None:
        cache = uwsgi.cache()
        assert [] == [n for n in range(last + 1) if cache.get(f"key{n}") != b"value%d" % n]
        assert cache.num("total") in (last + 1, last + 2)

    await in_mule(program, caches=[Cache("c", items=20_000, store=store)])


async def test_a_file_that_is_no_store_is_left_alone(
    in_mule: InMule, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The start fails and says what to do."""
    (tmp_path / "c.store").write_text("my diary, page one. " * 1000)
    with pytest.raises(BootError, match="move it away"):
        async with open_runtime(config=Config(caches=[Cache("c", items=3, store=str(tmp_path / "c.store"))])):
            pass
    assert (tmp_path / "c.store").read_text().startswith("my diary")


def test_a_store_that_takes_no_more_ends_the_call_only(tmp_path: Path) -> None:
    """The error says so, and the cache has what it had."""
    cache = LocalCache(Cache("c", items=3, store=str(tmp_path / "c.store")), lambda: 0.0)
    cache.update("a", "1")
    assert cache._file is not None
    cache._file.close()
    for call in (lambda: cache.update("a", "2"), lambda: cache.inc("n"), lambda: cache.delete("a")):
        with pytest.raises(CacheError, match="the cache is unchanged"):
            call()
    assert [b"a"] == cache.keys()
    assert b"1" == cache.get("a")


async def test_invalid_calls_are_not_sent_to_another_node(descriptors: Callable[[], int]) -> None:
    """Wrong arguments are the same errors as for a local cache; a number as a key would become that many zero bytes."""
    calls: list[tuple[type[Exception], Callable[[], Awaitable[object]]]] = [
        (TypeError, lambda: uwsgi.cache_get(5, "c@127.0.0.1:1")),  # type: ignore[arg-type]
        (TypeError, lambda: uwsgi.cache_set("a", 5, cache="c@127.0.0.1:1")),  # type: ignore[arg-type]
        (TypeError, lambda: uwsgi.cache_inc("a", 1.5, cache="c@127.0.0.1:1")),  # type: ignore[arg-type]
        (CacheError, lambda: uwsgi.cache_inc("a", 2**70, cache="c@127.0.0.1:1")),
        (CacheError, lambda: uwsgi.cache_inc("a", 1, -5, "c@127.0.0.1:1")),
        (CacheError, lambda: uwsgi.cache_set("a", "1", 10**400, "c@127.0.0.1:1")),
        (CacheError, lambda: uwsgi.cache_get("\ud800", "c@127.0.0.1:1")),
        (CacheError, lambda: uwsgi.cache_get("a", "\ud800@127.0.0.1:1")),
        (ConfigError, lambda: uwsgi.cache_get("a", "c@/tmp/\ud800")),
        (NodeUnreachable, lambda: uwsgi.cache_set("a", "1", math.inf, "c@127.0.0.1:1")),
    ]
    for kind, call in calls:
        with pytest.raises(kind) as caught:
            await call()
        assert kind is caught.type


async def test_wrong_arguments_of_a_local_cache(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Each is an error that says what is wrong, and nothing is stored."""

    async def program() -> None:
        cache = uwsgi.cache()
        with pytest.raises(TypeError, match="a cache's key must be bytes or str, not int"):
            cache.update(5, b"")  # type: ignore[arg-type]
        with pytest.raises(CacheError, match="cannot be encoded as UTF-8"):
            cache.update("\ud800", b"")
        with pytest.raises(TypeError, match="not by float"):
            cache.div("n", 1.0)  # type: ignore[arg-type]
        with pytest.raises(CacheError, match="more than 64 bits"):
            cache.mul("n", 10**5000)
        assert [] == cache.keys()

    await in_mule(program, caches=[Cache("c", items=3)])


def test_a_disk_that_cannot_be_written_to_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`store_sync` logs it and continues; clearing a store takes one step."""
    cache = LocalCache(Cache("c", items=3, store=str(tmp_path / "c.store")), lambda: 0.0)
    cache.update("a", "1")
    cache.clear()
    assert cache._file is not None
    cache._file.close()
    cache._file.sync()
    assert "could not be flushed to the disk" in caplog.text
    again = LocalCache(Cache("c", items=3, store=str(tmp_path / "c.store")), lambda: 0.0)
    assert [] == again.keys()
    assert again._file is not None
    again._file.close()
    with pytest.raises(BootError, match="more than a store can hold"):
        LocalCache(Cache("c", items=10**15, store=str(tmp_path / "large.store")), lambda: 0.0)
