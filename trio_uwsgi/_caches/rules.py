"""The rules of a cache: expiry, capacity, arithmetic, statistics. Pure.

Time is an argument, in seconds since the epoch. An expired item does not exist any more for callers, whether it has
been dropped yet or not. Expired items are dropped when space is needed, so a cache never holds more than `Cache.items`
items.

The rules access items through the protocol `Items`. `MemoryItems` is a dict of this process; `shared_items.py` is a
file that several processes have open. The callback `changed` gets every change before it is made, to keep a copy.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, MutableSequence
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Protocol, TypeAlias

from trio_uwsgi.errors import CacheError, CacheFull, CacheItemTooLarge

if TYPE_CHECKING:
    from trio_uwsgi.config.options import Cache

__all__ = [
    "COUNTS",
    "CacheLookups",
    "CacheRules",
    "CacheStatistics",
    "Item",
    "Items",
    "check_expiry",
    "check_operand",
    "quotient",
]

Item: TypeAlias = tuple[bytes, float]  # a value, and when it expires; `inf` is never
# Called with a key and its new item, or None if it is dropped; without a key all items are dropped.
Changed: TypeAlias = Callable[[bytes | None, Item | None], None]

# Numbers are stored as uWSGI stores them on little-endian machines.
_NUMBER = Struct("<q")
_pack = _NUMBER.pack
# In requests to other nodes expiry has at most 18 digits; with more, the sum with the time would overflow.
_LATEST = 1e18


def check_expiry(expires: float) -> None:
    """Check a number of seconds until expiry.

    Raises:
        CacheError: it is negative or too large.
        TypeError: it is not a number.
    """
    try:
        fits = 0 <= expires < _LATEST or expires == math.inf
    except TypeError:
        raise TypeError(f"an item expires in a number of seconds, not {expires!r}") from None
    if not fits:
        raise CacheError(
            f"an item cannot expire {float(min(expires, _LATEST))!r} seconds from now; use 0 or more, 0 for never"
        )


def check_operand(value: int) -> None:
    """Check the operand of an arithmetic operation.

    Raises:
        TypeError: it is not an int. (A float would be truncated on its way to another node.)
        CacheError: it has more than 64 bits.
    """
    if not isinstance(value, int):
        raise TypeError(f"a number in a cache is changed by an int, not by {type(value).__name__}")
    if not -(2**63) <= value <= 2**63:  # 2**63 itself can be subtracted from numbers from 0 on
        raise CacheError("a number in a cache cannot be changed by a number of more than 64 bits")


def quotient(number: int, divisor: int) -> int:
    """Division as in C: truncates toward zero."""
    result = abs(number) // abs(divisor)
    return result if (number < 0) == (divisor < 0) else -result


Counts: TypeAlias = "MutableSequence[int] | memoryview[int]"

# The number of counters: hits, misses, full. Each process that shares a cache has its own. The code uses the indexes 0,
# 1 and 2, because named constants would make a `get` a tenth slower.
COUNTS = 3

# The most expired items that one call drops, because dropping a thousand would block other callers. As each call adds
# at most one item, the number of expired items still decreases.
_MAX_DROPPED = 16


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """The counters of one cache.

    Attributes:
        items: the items that it holds now.
        hits: how often an item was asked for and found.
        misses: how often an item was asked for and not found.
        full: items that were refused because the cache was full.
    """

    items: int
    hits: int
    misses: int
    full: int


class Readable(Protocol):
    """The items of a cache, read only."""

    def get(self, key: bytes, /) -> Item | None:
        """The item, also if it has expired. With `lru` this counts as a use, except in `MemoryItems`."""
        ...

    def pairs(self) -> Iterable[tuple[bytes, float]]:
        """All keys, and when they expire."""
        ...


class Items(Readable, Protocol):
    """The items of a cache."""

    def __len__(self) -> int: ...

    def put(self, key: bytes, item: Item, /) -> None:
        """Store or replace an item; with `lru` this counts as a use."""
        ...

    def drop(self, key: bytes, /) -> None:
        """Drop an item, which must exist."""
        ...

    def clear(self) -> None:
        """Drop all."""
        ...

    def first_expired(self, now: float) -> bytes | None:
        """The key of the item that expired first, if one has."""
        ...

    def oldest(self) -> bytes:
        """The key of the least recently used item. Called with `lru` only, and never when empty."""
        ...


class MemoryItems(dict[bytes, Item]):
    """Items of this process, in a dict; with `lru` in the order of use, which `CacheLookups.get` maintains."""

    __slots__ = ("_expiring", "_lru")

    def __init__(self, lru: bool) -> None:
        self._lru = lru
        self._expiring: list[tuple[float, bytes]] = []  # a heap; may contain items that have been replaced

    drop = dict.__delitem__

    def put(self, key: bytes, item: Item) -> None:
        if self._lru:
            self.pop(key, None)
        self[key] = item
        if item[1] != math.inf:
            if len(self._expiring) > 2 * len(self) + 64:
                self._expiring = [(known[1], name) for name, known in self.items() if known[1] != math.inf]
                heapq.heapify(self._expiring)
            heapq.heappush(self._expiring, (item[1], key))

    def clear(self) -> None:
        super().clear()
        self._expiring.clear()

    def pairs(self) -> Iterable[tuple[bytes, float]]:
        return [(key, item[1]) for key, item in self.items()]

    def first_expired(self, now: float) -> bytes | None:
        expiring = self._expiring
        while expiring and expiring[0][0] <= now:
            expires, key = expiring[0]
            item = self.get(key)
            if item is not None and item[1] == expires:  # not replaced since
                return key
            heapq.heappop(expiring)
        return None

    def oldest(self) -> bytes:
        return next(iter(self))


class CacheLookups:
    """The rules of operations that only read.

    Args:
        spec: the limits of the cache.
        items: the items.
        counts: the counters, `COUNTS` numbers.
    """

    __slots__ = ("_by_use", "_counts", "_find", "_items", "spec")

    def __init__(self, spec: Cache, items: Readable, counts: Counts) -> None:
        self.spec = spec
        self._items = items
        self._find = items.get
        self._by_use = items if spec.lru and isinstance(items, MemoryItems) else None
        self._counts = counts

    def get(self, key: bytes, now: float) -> Item | None:
        """The item; None if there is none."""
        item = self._find(key)
        if item is None or item[1] <= now:
            self._counts[1] += 1
            return None
        self._counts[0] += 1
        if self._by_use is not None:
            del self._by_use[key]
            self._by_use[key] = item
        return item

    def exists(self, key: bytes, now: float) -> bool:
        """Is there such an item? Counts neither as a hit nor as a use."""
        item = self._find(key)
        return item is not None and item[1] > now

    def keys(self, now: float) -> list[bytes]:
        """The keys of all items."""
        return [key for key, expires in self._items.pairs() if expires > now]

    def number(self, key: bytes, now: float) -> int:
        """The number that is stored, 0 if there is none.

        Raises:
            CacheError: the item is not a number.
        """
        item = self.get(key, now)
        return 0 if item is None else self._as_number(key, item[0])

    def _as_number(self, key: bytes, value: bytes) -> int:
        if len(value) != _NUMBER.size:
            raise CacheError(
                f"item {key!r} of cache {self.spec.name!r} is not a number: it has {len(value)} bytes, "
                f"a number has {_NUMBER.size}"
            )
        number: int = _NUMBER.unpack(value)[0]
        return number


class CacheRules(CacheLookups):
    """One cache.

    Args:
        spec: its limits.
        changed: called before each change. If it raises, nothing is changed.
        items: the items; by default a dict of this process.
        counts: the counters; by default its own.
    """

    __slots__ = ("_changed",)
    _items: Items

    def __init__(
        self, spec: Cache, changed: Changed | None = None, items: Items | None = None, counts: Counts | None = None
    ) -> None:
        super().__init__(spec, MemoryItems(spec.lru) if items is None else items, counts or [0] * COUNTS)
        self._changed = changed

    def load(self, items: Iterable[tuple[bytes, Item]], now: float) -> None:
        """Load items from a copy, in the order of their use. Items that are too long or expired are dropped from the
        copy, and so are those beyond the capacity: with `lru` the first ones, else the last ones.
        """
        for key, (value, expires) in items:
            fits = len(key) <= self.spec.max_key and len(value) <= self.spec.max_value and expires > now
            if fits and (self.spec.lru or len(self._items) < self.spec.items):
                if len(self._items) >= self.spec.items:
                    self._make_room(now)
                self._items.put(key, (value, expires))
            else:
                self._notify(key, None)

    def statistics(self, now: float) -> CacheStatistics:
        """The number of items and the counters."""
        while self.drop_expired(now):
            pass
        return CacheStatistics(len(self._items), *self._counts)

    def drop_expired(self, now: float) -> bool:
        """Drop some expired items; False if there are no more."""
        for _ in range(_MAX_DROPPED):
            key = self._items.first_expired(now)
            if key is None:
                return False
            self._notify(key, None)
            self._items.drop(key)
        return True

    def set(self, key: bytes, value: bytes, expires: float, now: float) -> bool:
        """Store a new item; False if there is one. `expires` is in seconds from now, 0 is never.

        Raises:
            CacheError, CacheItemTooLarge, CacheFull: as `update`.
        """
        self._check(key, value)
        check_expiry(expires)
        if self.exists(key, now):
            return False
        self._store(key, (value, now + expires if expires else math.inf), now)
        return True

    def update(self, key: bytes, value: bytes, expires: float, now: float) -> None:
        """Store an item, or replace it.

        Raises:
            CacheError: the key is empty, or `expires` is negative or far too large.
            CacheItemTooLarge: the key or the value is.
            CacheFull: there is no room.
        """
        self._check(key, value)
        check_expiry(expires)
        self._store(key, (value, now + expires if expires else math.inf), now)

    def delete(self, key: bytes, now: float) -> bool:
        """Drop an item; False if there is none."""
        item = self._find(key)
        if item is None:
            return False
        self._notify(key, None)
        self._items.drop(key)
        return item[1] > now

    def clear(self) -> None:
        """Drop all items."""
        self._notify(None, None)
        self._items.clear()

    def change(self, key: bytes, change: Callable[[int], int], expires: float, now: float) -> int:
        """Replace a number by `change(number)`. A new item begins with `math_initial`, and expires as in `set`.

        Raises:
            CacheError: the item is not a number, or the result does not fit into 64 bits. Nothing changed.
            CacheItemTooLarge, CacheFull: as `update`.
        """
        item = self._find(key)
        if item is None or item[1] <= now:
            number = self._fitting(key, change(self.spec.math_initial))
            self.update(key, _pack(number), expires, now)
        else:
            number = self._fitting(key, change(self._as_number(key, item[0])))
            self._store(key, (_pack(number), item[1]), now)
        return number

    # ----- below

    def _check(self, key: bytes, value: bytes) -> None:
        spec = self.spec
        if not key:
            raise CacheError(f"an item of cache {spec.name!r} needs a key that is not empty")
        if len(key) > spec.max_key:
            raise CacheItemTooLarge(spec.name, "key", len(key), spec.max_key)
        if len(value) > spec.max_value:
            raise CacheItemTooLarge(spec.name, "value", len(value), spec.max_value)

    def _fitting(self, key: bytes, number: int) -> int:
        if not -(2**63) <= number < 2**63:
            raise CacheError(
                f"item {key!r} of cache {self.spec.name!r} would become {number}, which has more than 64 bits"
            )
        return number

    def _store(self, key: bytes, item: Item, now: float) -> None:
        # The lookup comes second, because a cache that is not full needs none.
        if len(self._items) >= self.spec.items and self._find(key) is None:
            self._make_room(now)
        self._notify(key, item)
        self._items.put(key, item)

    def _make_room(self, now: float) -> None:
        self.drop_expired(now)
        if len(self._items) < self.spec.items:
            return
        if self.spec.lru:
            oldest = self._items.oldest()
            self._notify(oldest, None)
            self._items.drop(oldest)
        elif self.spec.clear_on_full:
            self.clear()
        else:
            self._counts[2] += 1
            raise CacheFull(self.spec.name, self.spec.items)

    def _notify(self, key: bytes | None, item: Item | None) -> None:
        if self._changed is not None:
            self._changed(key, item)
