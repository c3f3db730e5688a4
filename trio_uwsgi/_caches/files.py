"""Opens the file of a cache; used for a file of one process (`store.py`) and a shared one (`shared_cache.py`).

A file is an LMDB environment with the records of `records.py`. A committed transaction is in the page cache, so it
survives a `kill -9` of any process at any time, and no process sees a part of a transaction.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import lmdb

from trio_uwsgi._caches.records import (
    ITEM_KINDS,
    PREPARED_NAME,
    VERSION,
    VERSION_NAME,
    Record,
    decode_item,
    decode_version_1,
)
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi.config.options import Cache

__all__ = ["Environment", "Transaction", "close", "empty", "is_shared", "open_file", "opening", "read_records", "sync"]

logger = logging.getLogger("trio_uwsgi")

# LMDB's types. Whether they return bytes or memoryviews depends on `buffers` at run time, so they are not used.
Environment: TypeAlias = Any
Transaction: TypeAlias = Any

# Space for the pages of the tree besides the items. The file is sparse, so unused space takes no room on the disk.
_SPARE = 64 * 1024 * 1024
# The most threads of all processes that may read at once; a slot takes 64 bytes of shared memory.
_READERS = 2048


@contextmanager
def opening(spec: Cache, path: str) -> Iterator[None]:
    """Convert errors of LMDB and the system into a BootError that names the cache and the file.

    Raises:
        BootError: the block raised such an error.
    """
    try:
        yield
    except OverflowError:
        raise BootError(
            f"cache {spec.name!r}: {spec.items} items of {spec.max_value} bytes are more than a store can hold; "
            f"set items= or max_value= to less"
        ) from None
    except (lmdb.Error, OSError, ValueError) as error:
        if spec.store is None:  # a new file in shared memory, so the contents cannot be the cause
            raise BootError(
                f"cache {spec.name!r}: {path} cannot be created ({error}); "
                f"make the shared memory larger (a container's may have 64 MB), or give the cache fewer items"
            ) from None
        raise BootError(
            f"cache {spec.name!r}: {path} cannot be opened ({error}); move it away if it is not a cache's "
            f"store, and check the permissions"
        ) from error


def open_file(spec: Cache, path: str) -> Environment:
    """Open the file. At most once per process and never before a fork, because LMDB's locks belong to the process.

    LMDB is set to write by system calls and not into its memory map, which would be a third faster: if the disk or the
    shared memory is full, a system call fails with an error, but a write to the map would kill the process.
    """
    size = 2 * spec.items * (spec.max_value + spec.max_key + 4096) + _SPARE
    return lmdb.open(path, subdir=False, map_size=size, sync=False, max_dbs=0, max_readers=_READERS)


def read_records(transaction: Transaction) -> Iterator[Record]:
    """All items of a file of any version.

    Raises:
        ValueError: it is not the file of a cache.
    """
    cursor = transaction.cursor()
    if transaction.get(VERSION_NAME) != VERSION:
        for name, data in cursor:
            yield *decode_version_1(name, data), 0, 0
        return
    for kind in ITEM_KINDS:
        if cursor.set_range(kind):
            for name, data in cursor:
                if name[:1] != kind:
                    break
                yield decode_item(name, data)


def is_shared(transaction: Transaction) -> bool | None:
    """Was the file prepared for several processes (True) or for one? None: it is new, or of version 1."""
    if transaction.get(VERSION_NAME) != VERSION:
        return None
    return transaction.get(PREPARED_NAME) is not None


def empty(environment: Environment, transaction: Transaction) -> None:
    """Drop everything but the version. LMDB only marks the pages as free, so this is fast for any size."""
    transaction.drop(environment.open_db(None, transaction), delete=False)
    transaction.put(VERSION_NAME, VERSION)


def close(environment: Environment, sync: bool) -> None:
    """Close the file; `sync`: flush it to the disk first, ignoring errors of that."""
    if sync:
        with contextlib.suppress(lmdb.Error):
            environment.sync(True)
    environment.close()


def sync(environment: Environment, path: str) -> None:
    """Flush the file to the disk. Blocks; call it in a thread.

    An error is logged and the next call tries again; the data is still in the page cache.
    """
    try:
        environment.sync(True)
    except (lmdb.Error, OSError) as error:
        logger.error("%s could not be flushed to the disk (%s); retrying at the next store_sync", path, error)
