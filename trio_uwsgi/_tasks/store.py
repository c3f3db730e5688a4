"""The file behind a cache with `store=`: an LMDB environment. Floor 2.

Every change is a transaction of its own, in the system's memory when it returns: so it outlives a `kill -9` of this
process, and the file is whole at any instant. What a crash of the machine takes is up to `store_sync`.

An item is stored as its time of expiry, 8 bytes as a double (infinity: never), and its value.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING

import lmdb

from trio_uwsgi.errors import BootError, CacheError

if TYPE_CHECKING:
    from trio_uwsgi._core.cache import Item
    from trio_uwsgi.options import Cache

__all__ = ["Store"]

logger = logging.getLogger("trio_uwsgi")

_EXPIRES = Struct("<d")
# Of LMDB: a page holds a key of up to 511 bytes.
LONGEST_KEY = 511
# Room for the pages of the tree beside the items. The file is sparse: it takes the space of what is in it.
_SPARE = 64 * 1024 * 1024


class Store:
    """The items of one cache, in a file.

    Raises:
        BootError: the file cannot be opened or is no store; nothing of it was changed.
    """

    def __init__(self, spec: Cache) -> None:
        assert spec.store is not None
        self._path = spec.store
        size = 2 * spec.items * (spec.max_value + spec.max_key + 4096) + _SPARE
        try:
            self._env = lmdb.open(spec.store, subdir=False, map_size=size, sync=False, max_dbs=0)
            self._items_db = self._env.open_db()
            self.items = list(self._read())
        except OverflowError:
            raise BootError(
                f"cache {spec.name!r}: {spec.items} items of {spec.max_value} bytes are more than a store can hold; "
                f"set items= or max_value= to less"
            ) from None
        except (lmdb.Error, OSError) as error:
            raise BootError(
                f"cache {spec.name!r}: {spec.store} cannot be opened ({error}); move it away if it is not a cache's "
                f"store, and check who may write there"
            ) from error

    def _read(self) -> Iterator[tuple[bytes, Item]]:
        with self._env.begin(buffers=False) as transaction:
            for key, data in transaction.cursor():
                if len(data) < _EXPIRES.size:
                    raise lmdb.Error(f"item {key!r} is none of a cache")
                yield bytes(key), (bytes(data[_EXPIRES.size :]), _EXPIRES.unpack_from(data)[0])

    def changed(self, key: bytes | None, item: Item | None) -> None:
        """Store or drop an item; without a key, drop all. It is in the file when this returns.

        Raises:
            CacheError: the file does not take it, because the disk is full, say. It is unchanged.
        """
        try:
            with self._env.begin(write=True) as transaction:
                if key is None:
                    transaction.drop(self._items_db, delete=False)
                elif item is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, _EXPIRES.pack(item[1]) + item[0])
        except (lmdb.Error, OSError) as error:
            what = "that all items are dropped" if key is None else f"item {key!r}"
            raise CacheError(f"{self._path} did not take {what} ({error}); the cache is unchanged") from error

    def sync(self) -> None:
        """Have the system write it to the disk. Takes its time; for a thread.

        A disk that takes nothing now is told of, and asked again the next time: what it lacks is in the system's
        memory still.
        """
        try:
            self._env.sync(True)
        except (lmdb.Error, OSError) as error:
            logger.error("%s could not be written to its disk (%s); it is tried again", self._path, error)

    def close(self) -> None:
        """Write it to the disk, and close it."""
        with contextlib.suppress(lmdb.Error):
            self._env.sync(True)
        self._env.close()
