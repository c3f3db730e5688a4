"""The file behind a cache with `store=` that one process has for itself.

The items are in the memory of the process, and every change is a transaction of its own before it is made there. What
a crash of the machine takes is up to `store_sync`. Several processes share a file in `shared_cache.py`; each of the
two opens what the other has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lmdb

from trio_uwsgi._caches.files import close, empty, is_shared, open_file, opening, read_records, sync
from trio_uwsgi._caches.records import encode_item, name_of
from trio_uwsgi.errors import CacheError

if TYPE_CHECKING:
    from trio_uwsgi._caches.rules import Item
    from trio_uwsgi.config.options import Cache

__all__ = ["Store"]


class Store:
    """The items of one cache, in a file.

    Raises:
        BootError: the file cannot be opened or is no store; nothing of it was changed.
    """

    def __init__(self, spec: Cache) -> None:
        assert spec.store is not None
        self._path = spec.store
        with opening(spec, spec.store):
            self._env = open_file(spec, spec.store)
            try:
                self.items = self._take_over()
            except BaseException:
                self._env.close()
                raise

    def _take_over(self) -> list[tuple[bytes, Item]]:
        with self._env.begin(write=True) as transaction:
            records = sorted(read_records(transaction), key=lambda record: record[3])  # as they were used
            items = [(key, item) for key, item, _, _ in records]
            if is_shared(transaction) is not False:
                empty(self._env, transaction)
                for key, item in items:
                    transaction.put(name_of(key), encode_item(key, item, 0, 0))
        return items

    def changed(self, key: bytes | None, item: Item | None) -> None:
        """Store or drop an item; without a key, drop all. It is in the file when this returns.

        Raises:
            CacheError: the file does not take it, because the disk is full, say. It is unchanged.
        """
        try:
            with self._env.begin(write=True) as transaction:
                if key is None:
                    empty(self._env, transaction)
                elif item is None:
                    transaction.delete(name_of(key))
                else:
                    transaction.put(name_of(key), encode_item(key, item, 0, 0))
        except (lmdb.Error, OSError) as error:
            what = "that all items are dropped" if key is None else f"item {key!r}"
            raise CacheError(f"{self._path} did not take {what} ({error}); the cache is unchanged") from error

    def sync(self) -> None:
        """Have the system write it to the disk. Takes its time; for a thread."""
        sync(self._env, self._path)

    def close(self, sync: bool = True) -> None:
        """Write it to the disk, if told so, and close it."""
        close(self._env, sync)
