"""Opening the file of a cache, and what is the same whoever has it open.

A file is an LMDB environment with the records of `_caches/records.py`. What a transaction has committed is in the
system's memory, so it outlives a `kill -9` of any process at any instant, and no process ever sees half of one.
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

# Of LMDB. Its own types leave open whether it gives bytes or memoryviews, which is decided by `buffers` at run time.
Environment: TypeAlias = Any
Transaction: TypeAlias = Any

# Room for the pages of the tree beside the items. The file is sparse: it takes the space of what is in it.
_SPARE = 64 * 1024 * 1024
# Processes and their threads that may read at one instant; a place takes 64 bytes of shared memory.
_READERS = 2048


@contextmanager
def opening(spec: Cache, path: str) -> Iterator[None]:
    """Say of which cache and file it is what LMDB and the system complain about.

    Raises:
        BootError: they did.
    """
    try:
        yield
    except OverflowError:
        raise BootError(
            f"cache {spec.name!r}: {spec.items} items of {spec.max_value} bytes are more than a store can hold; "
            f"set items= or max_value= to less"
        ) from None
    except (lmdb.Error, OSError, ValueError) as error:
        if spec.store is None:  # in shared memory, made a moment ago: it is not what is in it
            raise BootError(
                f"cache {spec.name!r}: {path} cannot be made ({error}); "
                f"give the shared memory more room (a container's may have 64 MB), or the cache fewer items"
            ) from None
        raise BootError(
            f"cache {spec.name!r}: {path} cannot be opened ({error}); move it away if it is not a cache's "
            f"store, and check who may write there"
        ) from error


def open_file(spec: Cache, path: str) -> Environment:
    """Open it; once in a process, and never before a fork, because LMDB's locks are bound to the process.

    LMDB writes by system calls, and not into its map, though that would take a third less: where the disk or the
    shared memory is full, a call fails and can be told of, while a store into the map would end the process.
    """
    size = 2 * spec.items * (spec.max_value + spec.max_key + 4096) + _SPARE
    return lmdb.open(path, subdir=False, map_size=size, sync=False, max_dbs=0, max_readers=_READERS)


def read_records(transaction: Transaction) -> Iterator[Record]:
    """All items of a file of any version.

    Raises:
        ValueError: it is none of a cache.
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
    """Was the file made ready for several processes, or for one? None: it is new, or of version 1."""
    if transaction.get(VERSION_NAME) != VERSION:
        return None
    return transaction.get(PREPARED_NAME) is not None


def empty(environment: Environment, transaction: Transaction) -> None:
    """Drop everything but the version. LMDB marks the pages as free, so this is quick, however much there is."""
    transaction.drop(environment.open_db(None, transaction), delete=False)
    transaction.put(VERSION_NAME, VERSION)


def close(environment: Environment, sync: bool) -> None:
    """Close it, and write it to the disk before, if told so; a disk that takes nothing is no reason to keep it open."""
    if sync:
        with contextlib.suppress(lmdb.Error):
            environment.sync(True)
    environment.close()


def sync(environment: Environment, path: str) -> None:
    """Have the system write it to the disk. Takes its time; for a thread.

    A disk that takes nothing now is told of, and asked again the next time: what it lacks is in the system's memory
    still.
    """
    try:
        environment.sync(True)
    except (lmdb.Error, OSError) as error:
        logger.error("%s could not be written to its disk (%s); it is tried again", path, error)
