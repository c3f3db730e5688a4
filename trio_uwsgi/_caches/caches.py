"""The caches of a runtime, for members and their threads.

The rules are in `rules.py`. A cache of one process uses them with a lock, because threads call it directly; a cache
that processes share uses them in `shared_cache.py`, where LMDB's transactions are the lock. `LocalCache` is the same
interface for both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._caches.rules import CacheRules, CacheStatistics, check_operand, quotient
from trio_uwsgi._caches.shared_cache import SharedRules
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi._caches.store import Store
from trio_uwsgi.errors import CacheError

if TYPE_CHECKING:
    from trio_uwsgi._caches.rules import Item
    from trio_uwsgi.config.options import Cache

__all__ = ["Caches", "LocalCache", "item_bytes"]


def item_bytes(what: str, value: str | bytes) -> bytes:
    """A key, a value or a name as bytes, to be stored or sent.

    Raises:
        TypeError: it is neither str nor bytes.
        CacheError: it is a str that cannot be encoded as UTF-8.
    """
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise CacheError(f"a cache's {what} cannot be encoded as UTF-8: {value!r} ({error}); use bytes") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"a cache's {what} must be bytes or str, not {type(value).__name__}; encode it first")


class LocalCache:
    """One cache of the runtime, from `uwsgi.cache`. Its methods never wait, and any thread may call them.

    Keys and values are bytes, or str that are encoded as UTF-8. `expires` is in seconds from now, with or without a
    fraction; 0 is never. Each call is atomic, also between processes. The functions whose names begin with `cache_`,
    such as `uwsgi.cache_get`, do the same, for caches of other nodes too; they say how uWSGI differs.

    Raises:
        TypeError: a key or a value is neither bytes nor str.
        CacheFull: the cache has no room for a new item.
        CacheItemTooLarge: a key or a value is too long.
        CacheError: a key is empty, `expires` is negative, an item is not a number, or a number exceeds 64 bits.
    Checkpoint: never.
    """

    __slots__ = ("_file", "_lock", "_now", "_rules", "_shared_get")

    def __init__(self, spec: Cache, now: Callable[[], float], folder: SharedFolder | None = None) -> None:
        self._now = now
        self._lock: AbstractContextManager[object]
        self._rules: CacheRules | SharedRules
        self._file: Store | SharedRules | None  # if the items are stored or shared
        self._shared_get: Callable[[bytes, float], Item | None] | None = None
        if folder is not None:
            self._lock = nullcontext()
            self._rules = self._file = shared = SharedRules(spec, folder, now())
            self._shared_get = shared.get  # the lock that does nothing would take longer than most of it
            return
        self._lock = threading.Lock()
        self._file = store = Store(spec) if spec.store is not None else None
        self._rules = CacheRules(spec, None if store is None else store.changed)
        if store is not None:
            self._rules.load(store.items, now())
            store.items.clear()

    def __repr__(self) -> str:
        return f"<LocalCache {self.name!r}: {self.statistics()}>"

    @property
    def name(self) -> str:
        """The name of the cache in `Config.caches`."""
        return self._rules.spec.name

    @property
    def spec(self) -> Cache:
        """Its limits, from `Config.caches`."""
        return self._rules.spec

    def statistics(self) -> CacheStatistics:
        """Count the items, the hits and the misses."""
        with self._lock:
            return self._rules.statistics(self._now())

    def item(self, key: str | bytes) -> tuple[bytes, float] | None:
        """Get the value of an item, and when it expires in seconds since the epoch (`inf`: never); None without one."""
        with self._lock:
            return self._rules.get(item_bytes("key", key), self._now())

    def get(self, key: str | bytes) -> bytes | None:
        """Get the value of an item; None if it does not exist or has expired."""
        name = key if type(key) is bytes else item_bytes("key", key)
        if self._shared_get is not None:
            item = self._shared_get(name, self._now())
        else:
            with self._lock:
                item = self._rules.get(name, self._now())
        return None if item is None else item[0]

    def exists(self, key: str | bytes) -> bool:
        """Return whether an item with this key exists and has not expired."""
        with self._lock:
            return self._rules.exists(item_bytes("key", key), self._now())

    def set(self, key: str | bytes, value: str | bytes, expires: float = 0) -> bool:
        """Store a new item and return True; return False if the item exists, which is not changed."""
        name, data = item_bytes("key", key), item_bytes("value", value)
        with self._lock:
            return self._rules.set(name, data, expires, self._now())

    def update(self, key: str | bytes, value: str | bytes, expires: float = 0) -> None:
        """Store an item, or replace it."""
        name, data = item_bytes("key", key), item_bytes("value", value)
        with self._lock:
            self._rules.update(name, data, expires, self._now())

    def delete(self, key: str | bytes) -> bool:
        """Delete an item and return True; return False if it does not exist."""
        with self._lock:
            return self._rules.delete(item_bytes("key", key), self._now())

    def clear(self) -> None:
        """Delete all items."""
        with self._lock:
            self._rules.clear()

    def keys(self) -> list[bytes]:
        """List the keys of all items."""
        with self._lock:
            return self._rules.keys(self._now())

    def num(self, key: str | bytes) -> int:
        """Get the number that is stored; 0 if the item does not exist."""
        with self._lock:
            return self._rules.number(item_bytes("key", key), self._now())

    def inc(self, key: str | bytes, value: int = 1, expires: float = 0) -> int:
        """Add to a number and return the new one. A missing item counts as `Cache.math_initial`."""
        return self._change(key, value, lambda number: number + value, expires)

    def dec(self, key: str | bytes, value: int = 1, expires: float = 0) -> int:
        """Subtract from a number and return the new one."""
        return self._change(key, value, lambda number: number - value, expires)

    def mul(self, key: str | bytes, value: int = 2, expires: float = 0) -> int:
        """Multiply a number and return the new one."""
        return self._change(key, value, lambda number: number * value, expires)

    def div(self, key: str | bytes, value: int = 2, expires: float = 0) -> int:
        """Divide a number, drop the fraction, and return the new number."""
        if not value:
            raise CacheError("a number in a cache cannot be divided by 0")
        return self._change(key, value, lambda number: quotient(number, value), expires)

    def _change(self, key: str | bytes, operand: int, change: Callable[[int], int], expires: float) -> int:
        name = item_bytes("key", key)
        check_operand(operand)
        with self._lock:
            return self._rules.change(name, change, expires, self._now())


class Caches:
    """The caches of a runtime, or of a process of one.

    Args:
        specs: their names and limits.
        now: the time of day.
        shared: False: only this process uses them. True: this is the master, which creates a folder for all processes
            and removes it at the end. A path: this is a member process, and the path is that folder.
    """

    def __init__(self, specs: Sequence[Cache], now: Callable[[], float], shared: bool | str | Path = False) -> None:
        self._specs = specs
        self._now = now
        self._shared = shared
        self._joins = not isinstance(shared, bool)
        self._folder: SharedFolder | None = None
        self._caches: dict[str, LocalCache] = {}
        self._is_open = False

    @property
    def folder(self) -> Path | None:
        """The folder of shared caches, while they are open; None if they are not shared.

        Member processes get the path, and each opens the caches itself, after its last fork.
        """
        return None if self._folder is None else self._folder.path

    def clear_dead_readers(self) -> None:
        """Clear the slots of readers that were killed. Optional: `shared_cache.py` also clears them by itself."""
        for cache in self._caches.values():
            if isinstance(cache._file, SharedRules):
                cache._file.clear_dead_readers()

    def get(self, name: str) -> LocalCache:
        """The cache of that name; `""` is the first one.

        Raises:
            CacheError: there is no such cache; the text says which ones there are.
        """
        if not self._specs:
            raise CacheError(
                "this runtime has no cache; set Config(caches=[Cache('default', items=1000)]), "
                "on the command line --cache2 name=default,items=1000"
            )
        try:
            return self._caches[name or self._specs[0].name]
        except KeyError:
            known = ", ".join(map(repr, self._caches))
            raise CacheError(f"there is no cache {name!r}; the caches are {known}") from None

    def all(self) -> list[LocalCache]:
        """All caches, while they are open."""
        return list(self._caches.values())

    @property
    def largest(self) -> int:
        """The largest `max_value` of all caches, in bytes."""
        return max((spec.max_value for spec in self._specs), default=0)

    def open(self) -> None:
        """Open the caches, unless they are open. `close` closes them, also after a failure.

        Raises:
            BootError: a store cannot be opened.
        """
        if self._is_open:
            return
        self._is_open = True
        if not isinstance(self._shared, bool):
            self._folder = SharedFolder(Path(self._shared))
        elif self._shared:
            self._folder = SharedFolder.make()
        for spec in self._specs:
            self._caches[spec.name] = LocalCache(spec, self._now, self._folder)

    def close(self) -> None:
        """Close the caches, unless they are closed."""
        if not self._is_open:
            return
        self._is_open = False
        for cache in self._caches.values():
            if cache._file is not None:
                cache._file.close(sync=cache.spec.store is not None and not self._joins)
        if self._folder is not None:
            self._folder.close() if self._joins else self._folder.remove()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the caches, wait until cancelled, close them.

        Raises:
            BootError: a store cannot be opened.
        """
        try:
            self.open()
            async with trio.open_nursery() as nursery:
                for cache in self._caches.values():
                    if cache._file is not None and cache.spec.store_sync and not self._joins:
                        nursery.start_soon(_sync, cache._file, cache.spec.store_sync)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.close()


async def _sync(store: Store | SharedRules, seconds: float) -> None:
    while True:
        await trio.sleep(seconds)
        await trio.to_thread.run_sync(store.sync)
