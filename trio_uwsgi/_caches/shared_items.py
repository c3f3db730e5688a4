"""Items in a file that several processes have open: what `_caches/rules.py` asks of where items are.

Looking is a transaction of LMDB that only reads: it takes no lock, waits for nobody, and sees what was committed.
Changing happens in a transaction that writes, of which there is one at a time over all processes; `shared_cache.py`
begins and ends it around each call.

Under `lru`, getting an item is a use, and must not cost a transaction that writes. So the time of the use goes to a
table in shared memory (`uses`: a number for each slot, and each item has a slot), with one store of 8 bytes. The file
has an index of uses, too, which is right or too early, never too late. Whoever needs the item that was not used for
the longest time takes the first one of the index, and if the table knows a later use, moves it there and looks again:
each such step is paid for by a get before it. When the two agree, no other item can have been used earlier.
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
# Items that are moved in the index of uses in one transaction, so that it stays short however many were used.
_MAX_MOVED = 16


class CommitAndRepeat(Exception):
    """What was done so far is to be committed, and the call to be made again. Never leaves `shared_cache.py`."""


class UseTimes:
    """When the items of a cache were used: a number for each slot, in memory that all processes have.

    Time is the system's monotonic clock in nanoseconds, which is one clock for all processes, plus what makes it
    later than all uses that the file has from earlier boots.
    """

    __slots__ = ("offset", "table")

    def __init__(self, table: memoryview[int]) -> None:
        self.table = table
        self.offset = 0

    def now(self) -> int:
        """The time of a use that begins now."""
        return time.monotonic_ns() + self.offset

    def note(self, slot: int, used: int) -> None:
        """An item was used. Two processes that do this at one instant may leave the earlier of their two times."""
        if self.table[slot] < used:
            self.table[slot] = used


class ItemReader:
    """The items, for those who look: each look is a transaction of its own.

    Args:
        environment: the file.
        uses: where a `get` is noted; None if it is none that counts.
    """

    __slots__ = ("_uses", "env")

    def __init__(self, environment: Environment, uses: UseTimes | None) -> None:
        self.env = environment
        self._uses = uses

    def get(self, key: bytes, /) -> Item | None:
        # Before the look: an item that takes over the slot after it is newer, so the note does not touch it.
        used = 0 if self._uses is None else self._uses.now()
        name = name_of(key)
        with self._begin() as transaction:
            data = transaction.get(name)
        if data is None:
            return None
        found, item, slot, _ = decode_item(name, data)
        if found != key:
            return None
        # Also if it has expired: nobody gets that one any more, so its use says nothing.
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
                self.env.reader_check()  # the places of those who were killed
                return self.env.begin(buffers=buffers)
        except lmdb.Error as error:
            raise CacheError(f"a shared cache cannot be read: {error}") from error


class SharedItems:
    """The items, for those who change them. Everything happens in `transaction`, which is set from outside.

    LMDB lets one thread of one process write at a time, so what is kept here during a transaction is of one call. It
    is begun with `buffers=True`: looking at the head of an item does not copy its value.

    Args:
        environment: the file.
        uses: when they were used, if the cache is `lru`.
    """

    __slots__ = ("_began", "_counted", "_items", "_slots", "_transaction", "_uses", "env")

    def __init__(self, environment: Environment, uses: UseTimes | None) -> None:
        self.env = environment
        self._uses = uses
        self._transaction: Transaction
        self._began = self._items = self._slots = 0
        self._counted = False

    def begin(self, transaction: Transaction, began: int) -> None:
        """A call begins, which waited for its turn since `began`. `end` is due before the commit."""
        self._transaction = transaction
        self._began = began
        self._counted = False
        self._items, self._slots = COUNT.unpack(transaction.get(COUNT_NAME, _EMPTY))

    def end(self) -> None:
        """Write down how many items there are now."""
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
            cursor.set_range(USES)  # the last kind of records, and there is one for each item
            place = bytes(cursor.key())
            used, name = decode_use(place)
            data = transaction.get(name)
            _, slot, _ = decode_head(data)
            last = self._uses.table[slot]
            # Where all were used since the call began, any of them will do: else busy readers could keep it for ever.
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
