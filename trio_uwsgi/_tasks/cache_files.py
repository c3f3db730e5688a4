"""Opening the file of a cache, and what is the same whoever has it open. Floor 2.

A file is an LMDB environment with the records of `_wire/cache_records.py`. What a transaction has committed is in the
system's memory, so it outlives a `kill -9` of any process at any instant, and no process ever sees half of one.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import lmdb

from trio_uwsgi._wire.cache_records import (
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
    from trio_uwsgi.options import Cache

__all__ = ["Environment", "Reserve", "Transaction", "empty", "is_shared", "open_file", "opening", "read_records"]

# Of LMDB. Its own types leave open whether it gives bytes or memoryviews, which is decided by `buffers` at run time.
Environment: TypeAlias = Any
Transaction: TypeAlias = Any

# Room for the pages of the tree beside the items. The file is sparse: it takes the space of what is in it.
_SPARE = 64 * 1024 * 1024
# Processes and their threads that may read at one instant; a place takes 64 bytes of shared memory.
_READERS = 2048
_PAGE = mmap.PAGESIZE
# Pages for the tree in one transaction, and values: both more than the rules' pieces of 16 ask for.
_MOST_NODES, _MOST_VALUES = 384, 18
# Numbers of pages in one page of LMDB's list of free ones, with some room: clearing writes all of them there.
_FREED_PER_PAGE = 256


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
        raise BootError(
            f"cache {spec.name!r}: {path} cannot be opened ({error}); move it away if it is not a cache's "
            f"store, and check who may write there"
        ) from error


def open_file(spec: Cache, path: str, in_memory: bool = False) -> Environment:
    """Open it; once in a process, and never before a fork, because LMDB's locks are bound to the process.

    A file in shared memory is written to in place, which costs half: who is killed then has only touched pages that
    nobody looks at, because what makes them count is a number that is written last. But whoever writes has to
    `reserve` before. On a disk the order of writes may be lost with the machine, so there LMDB writes by system calls.
    """
    size = 2 * spec.items * (spec.max_value + spec.max_key + 4096) + _SPARE
    return lmdb.open(path, subdir=False, map_size=size, sync=False, max_dbs=0, max_readers=_READERS, writemap=in_memory)


class Reserve:
    """Memory for the next transaction of a file that is written to in place.

    The file is sparse, and a store into a page that the system has no memory for would end the process. So the pages
    that a transaction may need at most are made sure of before it writes.
    """

    def __init__(self, spec: Cache, environment: Environment) -> None:
        self._env = environment
        self._fd = os.open(environment.path(), os.O_RDWR | os.O_CLOEXEC)
        self._size: int = environment.info()["map_size"]
        self._sure = 0
        # The values of one item stored and of those moved in the index of uses, the pages from the root to each record
        # of those and of the expired ones that are dropped.
        self._most = _MOST_NODES + _MOST_VALUES * (spec.max_value // _PAGE + 2)

    def make_sure(self) -> None:
        """Called in the transaction, before it writes.

        Raises:
            OSError: there is no memory.
        """
        last: int = self._env.info()["last_pgno"]
        needed = (last + self._most + last // _FREED_PER_PAGE) * _PAGE
        if self._sure < min(needed, self._size):
            sure = min(needed + self._most * _PAGE, self._size)
            os.posix_fallocate(self._fd, self._sure, sure - self._sure)
            self._sure = sure

    def close(self) -> None:
        os.close(self._fd)


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
