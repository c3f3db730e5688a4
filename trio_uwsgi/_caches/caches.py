"""The caches of a runtime, for members and their threads.

The rules are in `_caches/rules.py`. A cache of one process has them for itself, with a lock, because threads use it
without asking Trio; one that processes share has them in `shared_cache.py`, where LMDB's transactions are the lock.
Nobody who has a `LocalCache` knows which of the two it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._caches.rules import CacheRules, CacheStatistics, check_operand
from trio_uwsgi._caches.shared_cache import SharedRules
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi._caches.store import Store
from trio_uwsgi.errors import CacheError

if TYPE_CHECKING:
    from trio_uwsgi._caches.rules import Item
    from trio_uwsgi.config.options import Cache

__all__ = ["Caches", "LocalCache", "item_bytes"]


def item_bytes(what: str, value: str | bytes) -> bytes:
    """A key, a value or a name, as it is stored or sent.

    Raises:
        TypeError: it is neither str nor bytes.
        CacheError: it is a str that is not UTF-8.
    """
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise CacheError(f"a cache's {what} is {value!r}, which is not UTF-8 ({error}); use bytes") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"a cache's {what} is bytes or str, not {type(value).__name__}; encode it first")


class LocalCache:
    """One cache of the runtime, as a plain object that never waits; got from `uwsgi.cache(name)`, for any thread.

    Keys and values are bytes, or str that are taken as UTF-8. `expires` is in seconds from now, fractions count, 0 is
    never. Each call is atomic. What they raise: `TypeError` for keys and values of other types, `CacheError` for what
    cannot be done, `CacheFull` and `CacheItemTooLarge` for what cannot be stored. The functions of `trio_uwsgi.uwsgi`
    with the names `cache_...` do the same, and say how each differs from uWSGI.
    """

    __slots__ = ("_file", "_lock", "_now", "_rules")

    def __init__(self, spec: Cache, now: Callable[[], float], folder: SharedFolder | None = None) -> None:
        self._now = now
        self._lock: AbstractContextManager[object]
        self._rules: CacheRules | SharedRules
        self._file: Store | SharedRules | None
        if folder is not None:
            self._lock = nullcontext()
            self._rules = self._file = SharedRules(spec, folder, now())
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
        """What it is called in `Config.caches`."""
        return self._rules.spec.name

    @property
    def stored(self) -> Store | SharedRules | None:
        """The file that it has, because it is stored or shared."""
        return self._file

    def statistics(self) -> CacheStatistics:
        """How many items there are, and what was asked."""
        with self._lock:
            return self._rules.statistics(self._now())

    def item(self, key: str | bytes) -> Item | None:
        """The value of an item, and when it expires in seconds since the epoch (`inf`: never); None without one."""
        with self._lock:
            return self._rules.get(item_bytes("key", key), self._now())

    def get(self, key: str | bytes) -> bytes | None:
        """The value of an item; None if there is none."""
        with self._lock:
            item = self._rules.get(key if type(key) is bytes else item_bytes("key", key), self._now())
        return None if item is None else item[0]

    def exists(self, key: str | bytes) -> bool:
        """Is there such an item?"""
        with self._lock:
            return self._rules.exists(item_bytes("key", key), self._now())

    def set(self, key: str | bytes, value: str | bytes, expires: float = 0) -> bool:
        """Store a new item; False if there is one, which stays."""
        name, data = item_bytes("key", key), item_bytes("value", value)
        with self._lock:
            return self._rules.set(name, data, expires, self._now())

    def update(self, key: str | bytes, value: str | bytes, expires: float = 0) -> None:
        """Store an item, or replace it."""
        name, data = item_bytes("key", key), item_bytes("value", value)
        with self._lock:
            self._rules.update(name, data, expires, self._now())

    def delete(self, key: str | bytes) -> bool:
        """Drop an item; False if there is none."""
        with self._lock:
            return self._rules.delete(item_bytes("key", key), self._now())

    def clear(self) -> None:
        """Drop all items."""
        with self._lock:
            self._rules.clear()

    def keys(self) -> list[bytes]:
        """The keys of all items."""
        with self._lock:
            return self._rules.keys(self._now())

    def num(self, key: str | bytes) -> int:
        """The number that is stored, 0 if there is none."""
        with self._lock:
            return self._rules.number(item_bytes("key", key), self._now())

    def inc(self, key: str | bytes, value: int = 1, expires: float = 0) -> int:
        """Add to a number, and give the new one."""
        return self._change(key, value, lambda number: number + value, expires)

    def dec(self, key: str | bytes, value: int = 1, expires: float = 0) -> int:
        """Subtract from a number, and give the new one."""
        return self._change(key, value, lambda number: number - value, expires)

    def mul(self, key: str | bytes, value: int = 2, expires: float = 0) -> int:
        """Multiply a number, and give the new one."""
        return self._change(key, value, lambda number: number * value, expires)

    def div(self, key: str | bytes, value: int = 2, expires: float = 0) -> int:
        """Divide a number, cutting fractions off, and give the new one."""
        if not value:
            raise CacheError("a number in a cache cannot be divided by 0")
        return self._change(key, value, lambda number: _quotient(number, value), expires)

    def _change(self, key: str | bytes, operand: int, change: Callable[[int], int], expires: float) -> int:
        name = item_bytes("key", key)
        check_operand(operand)
        with self._lock:
            return self._rules.change(name, change, expires, self._now())


def _quotient(number: int, divisor: int) -> int:
    """As C divides: toward zero."""
    quotient = abs(number) // abs(divisor)
    return quotient if (number < 0) == (divisor < 0) else -quotient


class Caches:
    """The caches of a runtime, or of a process of one.

    Args:
        specs: what they are called, and their limits.
        now: the time of day.
        shared: False: they are this process's own. True: this is the first process of a runtime that has others, which
            makes a folder for them, and removes it at its end. The path of that folder: this is one of the others.
    """

    def __init__(self, specs: Sequence[Cache], now: Callable[[], float], shared: bool | str | Path = False) -> None:
        self._specs = specs
        self._now = now
        self._shared = shared
        self._folder: SharedFolder | None = None
        self._caches: dict[str, LocalCache] = {}

    @property
    def folder(self) -> Path | None:
        """Where other processes of this runtime find the caches, while they are open; None where they are not shared.

        To be told to processes that are started; each opens the caches for itself, and after its last fork.
        """
        return None if self._folder is None else self._folder.path

    def clear_dead_readers(self) -> None:
        """A process of this runtime has died. Optional: makes its places in shared caches free at once."""
        for cache in self._caches.values():
            if isinstance(cache.stored, SharedRules):
                cache.stored.clear_dead_readers()

    def get(self, name: str) -> LocalCache:
        """The cache of that name; `""` is the first one.

        Raises:
            CacheError: there is none; says which there are.
        """
        if not self._specs:
            raise CacheError(
                "this runtime has no cache; set Config(caches=[Cache('default', items=1000)]), "
                "on the command line --cache2 name=default,items=1000"
            )
        try:
            return self._caches[name or self._specs[0].name]
        except KeyError:
            raise CacheError(f"there is no cache {name!r}; there is {', '.join(map(repr, self._caches))}") from None

    @property
    def largest(self) -> int:
        """Bytes of the longest value that any of them takes."""
        return max((spec.max_value for spec in self._specs), default=0)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open them, be there until cancelled, close them.

        Raises:
            BootError: a store cannot be opened.
        """
        joins = False
        try:
            if not isinstance(self._shared, bool):
                joins = True
                self._folder = SharedFolder(Path(self._shared))
            elif self._shared:
                self._folder = SharedFolder.make()
            async with trio.open_nursery() as nursery:
                for spec in self._specs:
                    cache = self._caches[spec.name] = LocalCache(spec, self._now, self._folder)
                    if cache.stored is not None and spec.store_sync and not joins:
                        nursery.start_soon(_sync, cache.stored, spec.store_sync)
                task_status.started()
                await trio.sleep_forever()
        finally:
            for spec in self._specs:
                opened = self._caches.get(spec.name)
                if opened is not None and opened.stored is not None:
                    opened.stored.close(sync=spec.store is not None and not joins)
            if self._folder is not None:
                self._folder.close() if joins else self._folder.remove()


async def _sync(store: Store | SharedRules, seconds: float) -> None:
    while True:
        await trio.sleep(seconds)
        await trio.to_thread.run_sync(store.sync)
