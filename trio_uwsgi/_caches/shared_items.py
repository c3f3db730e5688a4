"""Items in a file that several processes have open: the protocol `Items` of `rules.py`.

Reading is a read transaction of LMDB: it takes no lock, does not wait, and sees what was committed. Changes are made in
a write transaction, of which there is one at a time over all processes; `shared_cache.py` begins and ends it around
each call.

With `lru`, a `get` counts as a use, but must not cost a write transaction. So the time of the use is written to a table
in shared memory (`UseTimes`: each item has a slot, each slot a number of 8 bytes). The file has an index of use times
too; its times may be earlier than those of the table, never later. To find the least recently used item, take the first
item of the index; if the table has a later time, move the item there in the index and repeat. Each such step
corresponds to an earlier `get`. When both times agree, no other item was used earlier.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import lmdb

from trio_uwsgi._caches.files import Environment, Transaction, empty
from trio_uwsgi._caches.records import (
    COUNT,
    COUNT_NAME,
    EXPIRIES,
    FREE_SLOTS,
    ITEM_KINDS,
    PREPARED_NAME,
    USES,
    decode_expiry,
    decode_head,
    decode_item,
    decode_key,
    decode_slot,
    decode_use,
    encode_expiry,
    encode_item,
    encode_slot,
    encode_use,
    name_of,
)
from trio_uwsgi.errors import CacheError

if TYPE_CHECKING:
    from trio_uwsgi._caches.rules import Item

__all__ = ["CommitAndRepeat", "ItemReader", "SharedItems", "UseTimes"]

_INFINITY = float("inf")
_EMPTY = COUNT.pack(0, 0)
# The most items that are moved in the index of use times in one transaction, to keep it short.
_MAX_MOVED = 16


class CommitAndRepeat(Exception):
    """Commit the transaction and repeat the call. Caught in `shared_cache.py`."""


class UseTimes:
    """When the items of a cache were last used: a number for each slot, in shared memory.

    Time is the system's monotonic clock in nanoseconds, the same clock in all processes, plus an `offset` that makes it
    later than all use times in the file from earlier boots.
    """

    __slots__ = ("offset", "table")

    def __init__(self, table: memoryview[int]) -> None:
        self.table = table
        self.offset = 0

    def now(self) -> int:
        """The current time."""
        return time.monotonic_ns() + self.offset

    def note(self, slot: int, used: int) -> None:
        """An item was used. If two processes note this at once, the earlier of their times may remain."""
        if self.table[slot] < used:
            self.table[slot] = used


class ItemReader:
    """Reads items; each call is its own read transaction.

    Args:
        environment: the file.
        uses: where a `get` is noted; None if it does not count as a use.
    """

    __slots__ = ("_uses", "env")

    def __init__(self, environment: Environment, uses: UseTimes | None) -> None:
        self.env = environment
        self._uses = uses

    def get(self, key: bytes, /) -> Item | None:
        # The time before the read: if another item gets the slot meanwhile, its time is later and is not changed.
        used = 0 if self._uses is None else self._uses.now()
        name = name_of(key)
        transaction = self._begin()
        try:  # `with` takes longer
            data = transaction.get(name)
        finally:
            transaction.abort()
        if data is None:
            return None
        found, item, slot, _ = decode_item(name, data)
        if found != key:
            return None
        # Noted even if it has expired, because then its use time does not matter.
        if self._uses is not None:
            self._uses.note(slot, used)
        return item

    def pairs(self) -> Iterator[tuple[bytes, float]]:
        with self._begin(buffers=True) as transaction:
            yield from _pairs(transaction)

    def __len__(self) -> int:
        with self._begin() as transaction:
            items: int = COUNT.unpack(transaction.get(COUNT_NAME, _EMPTY))[0]
        return items

    def any_expired(self, now: float) -> bool:
        """Is there an item that has expired?"""
        with self._begin() as transaction:
            cursor = transaction.cursor()
            return cursor.set_range(EXPIRIES) and cursor.key()[:1] == EXPIRIES and decode_expiry(cursor.key())[0] <= now

    def _begin(self, buffers: bool = False) -> Transaction:
        try:
            try:
                return self.env.begin(buffers=buffers)
            except lmdb.ReadersFullError:
                self.env.reader_check()  # clears the slots of killed readers
                return self.env.begin(buffers=buffers)
        except lmdb.Error as error:
            raise CacheError(f"a shared cache cannot be read: {error}") from error


class SharedItems:
    """Changes items, inside of the write transaction that `begin` sets.

    LMDB lets one thread of one process write at a time, so the attributes belong to one call at a time. The transaction
    has `buffers=True`, so that reading the head of an item does not copy its value.

    Args:
        environment: the file.
        uses: the use times, if the cache is `lru`.
    """

    __slots__ = ("_began", "_counted", "_items", "_slots", "_transaction", "_uses", "env")

    def __init__(self, environment: Environment, uses: UseTimes | None) -> None:
        self.env = environment
        self._uses = uses
        self._transaction: Transaction
        self._began = self._items = self._slots = 0
        self._counted = False

    def begin(self, transaction: Transaction, began: int) -> None:
        """A call begins, which has waited for the write lock since `began`. `end` must follow before the commit."""
        self._transaction = transaction
        self._began = began
        self._counted = False
        self._items, self._slots = COUNT.unpack(transaction.get(COUNT_NAME, _EMPTY))

    def end(self) -> None:
        """Write the number of items."""
        if self._counted:
            self._transaction.put(COUNT_NAME, COUNT.pack(self._items, self._slots))

    def __len__(self) -> int:
        return self._items

    def get(self, key: bytes, /) -> Item | None:
        name = name_of(key)
        data = self._transaction.get(name)
        if data is None:
            return None
        found, item, _, _ = decode_item(name, bytes(data))
        return item if found == key else None

    def put(self, key: bytes, item: Item, /) -> None:
        transaction = self._transaction
        name = name_of(key)
        data = transaction.get(name)
        if data is None:
            expired, slot, used = _INFINITY, 0, 0
            self._counted = True
            self._items += 1
            if self._uses is not None:
                slot, used = self._free_slot(), self._uses.now()
                transaction.put(encode_use(used, name), b"")
        else:
            expired, slot, used = decode_head(data)
            if self._uses is not None:
                self._uses.note(slot, self._uses.now())
        if expired != item[1]:
            if expired != _INFINITY:
                transaction.delete(encode_expiry(expired, name))
            if item[1] != _INFINITY:
                transaction.put(encode_expiry(item[1], name), b"")
        transaction.put(name, encode_item(key, item, slot, used))

    def drop(self, key: bytes, /) -> None:
        transaction = self._transaction
        name = name_of(key)
        expires, slot, used = decode_head(transaction.get(name))
        transaction.delete(name)
        if expires != _INFINITY:
            transaction.delete(encode_expiry(expires, name))
        if self._uses is not None:
            transaction.delete(encode_use(used, name))
            transaction.put(encode_slot(slot), b"")
        self._counted = True
        self._items -= 1

    def clear(self) -> None:
        prepared = bytes(self._transaction.get(PREPARED_NAME))
        empty(self.env, self._transaction)
        self._transaction.put(PREPARED_NAME, prepared)
        self._counted = True
        self._items = self._slots = 0

    def pairs(self) -> Iterator[tuple[bytes, float]]:
        return _pairs(self._transaction)

    def first_expired(self, now: float) -> bytes | None:
        cursor = self._transaction.cursor()
        if not cursor.set_range(EXPIRIES) or cursor.key()[:1] != EXPIRIES:
            return None
        expires, name = decode_expiry(bytes(cursor.key()))
        return decode_key(name, self._transaction.get(name)) if expires <= now else None

    def oldest(self) -> bytes:
        assert self._uses is not None
        transaction = self._transaction
        for _ in range(_MAX_MOVED):
            cursor = transaction.cursor()
            cursor.set_range(USES)  # the last type of records; there is one for each item
            place = bytes(cursor.key())
            used, name = decode_use(place)
            data = transaction.get(name)
            _, slot, _ = decode_head(data)
            last = self._uses.table[slot]
            # If all items were used since the call began, take any; otherwise busy readers could delay it for ever.
            if last <= used or used > self._began:
                return decode_key(name, data)
            key, item, _, _ = decode_item(name, bytes(data))
            transaction.delete(place)
            transaction.put(encode_use(last, name), b"")
            transaction.put(name, encode_item(key, item, slot, last))
        raise CommitAndRepeat

    # ----- below

    def _free_slot(self) -> int:
        cursor = self._transaction.cursor()
        if cursor.set_range(FREE_SLOTS) and cursor.key()[:1] == FREE_SLOTS:
            place = bytes(cursor.key())
            self._transaction.delete(place)
            return decode_slot(place)
        self._slots += 1
        return self._slots - 1


def _pairs(transaction: Transaction) -> Iterator[tuple[bytes, float]]:
    cursor = transaction.cursor()
    for kind in ITEM_KINDS:
        found = cursor.set_range(kind)
        while found and cursor.key()[:1] == kind:
            data = cursor.value()
            yield decode_key(bytes(cursor.key()), data), decode_head(data)[0]
            found = cursor.next()
