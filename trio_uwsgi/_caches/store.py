"""The file of a cache with `store=` that only one process uses.

The items are in the memory of the process; each change is first committed to the file in its own transaction.
`store_sync` limits what a crash of the machine can lose. `shared_cache.py` is for a file that several processes share;
both can open a file that the other has written.
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
        BootError: the file cannot be opened or is not a store; it was not changed.
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
            records = sorted(read_records(transaction), key=lambda record: record[3])  # by their last use
            items = [(key, item) for key, item, _, _ in records]
            if is_shared(transaction) is not False:
                empty(self._env, transaction)
                for key, item in items:
                    transaction.put(name_of(key), encode_item(key, item, 0, 0))
        return items

    def changed(self, key: bytes | None, item: Item | None) -> None:
        """Store or drop an item; without a key, drop all. The change is committed when this returns.

        Raises:
            CacheError: the file cannot be written, for example because the disk is full. It is unchanged.
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
            what = "cannot be cleared" if key is None else f"cannot be written, item {key!r}"
            raise CacheError(f"{self._path} {what} ({error}); the cache is unchanged") from error

    def sync(self) -> None:
        """Flush the file to the disk. Blocks; call it in a thread."""
        sync(self._env, self._path)

    def close(self, sync: bool = True) -> None:
        """Close the file; `sync`: flush it to the disk first."""
        close(self._env, sync)
