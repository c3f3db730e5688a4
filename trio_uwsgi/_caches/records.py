"""The file format of a cache: names and values of LMDB's records. Pure.

One tree has all records of a cache; the first byte of a record's name is its type. In their order:

    V            the version of the format; its value has less than 8 bytes, unlike all records of version 1
    c            the number of items, and the number of slots assigned so far
    e time name  one for each item that expires, sorted by the time of expiry
    f slot       one for each slot that was assigned and is free again
    h digest     as `i`, for a key that is too long for a name; the key comes before the value
    i key        an item: its expiry, its slot, the time of its last use, its value
    p            the run of the runtime for which the file was prepared, and the cache's limits
    u use name   one for each item of an `lru` cache, sorted by the time of the last use as far as the file has it

`c`, `e`, `f`, `p` and `u` exist only while processes share the file. A process that uses the file alone keeps these
facts in memory, and writes `V`, `h` and `i` only.

In version 1 each record was an item: its name was the key, its value 8 bytes of expiry (a double; infinity: never) and
the item's value.
"""

from __future__ import annotations

import hashlib
from struct import Struct, error
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from trio_uwsgi._caches.rules import Item

__all__ = [
    "COUNT",
    "COUNT_NAME",
    "EXPIRIES",
    "FREE_SLOTS",
    "ITEM_KINDS",
    "PREPARED",
    "PREPARED_NAME",
    "USES",
    "VERSION",
    "VERSION_NAME",
    "Record",
    "decode_expiry",
    "decode_head",
    "decode_item",
    "decode_key",
    "decode_slot",
    "decode_use",
    "decode_version_1",
    "encode_expiry",
    "encode_item",
    "encode_slot",
    "encode_use",
    "name_of",
]

VERSION_NAME, VERSION = b"V", b"2"
COUNT_NAME, COUNT = b"c", Struct("<QQ")
EXPIRIES, FREE_SLOTS, USES = b"e", b"f", b"u"
ITEM_KINDS = _DIGEST, _KEY = b"h", b"i"
# The run of the runtime; the offset that makes its use times later than those in the file; items, max_key, max_value
# and lru of the cache.
PREPARED_NAME, PREPARED = b"p", Struct("<16sQQQQ?")

# LMDB's names have at most 511 bytes, and those of the indexes have 9 more than those of items.
_LONGEST = 500

_HEAD = Struct("<dIQ")
_HEAD_SIZE = _HEAD.size
_unpack_head = _HEAD.unpack_from
_KEY_SIZE = Struct("<I")
_KEY_START = _HEAD_SIZE + _KEY_SIZE.size
_TIME = Struct(">d")  # the bytes of doubles from 0 to infinity sort in the order of the numbers
_USE = Struct(">Q")
_SLOT = Struct(">I")
_OLD_HEAD = Struct("<d")


# An item in the file: key, item, slot, time of the last use as far as the file has it.
Record: TypeAlias = "tuple[bytes, Item, int, int]"


def name_of(key: bytes) -> bytes:
    """The name of the record for that key. (No two keys with the same 256-bit digest are known.)"""
    if len(key) < _LONGEST:
        return _KEY + key
    return _DIGEST + hashlib.blake2b(key, digest_size=32).digest()


def encode_item(key: bytes, item: Item, slot: int, used: int) -> bytes:
    """The value of the record."""
    head = _HEAD.pack(item[1], slot, used)
    return head + item[0] if len(key) < _LONGEST else head + _KEY_SIZE.pack(len(key)) + key + item[0]


def decode_item(name: bytes, data: bytes) -> Record:
    """The item of a record.

    Raises:
        ValueError: the record is not an item.
    """
    try:
        expires, slot, used = _unpack_head(data)
        if name[:1] == _KEY:
            return name[1:], (data[_HEAD_SIZE:], expires), slot, used
        end = _KEY_START + _KEY_SIZE.unpack_from(data, _HEAD_SIZE)[0]
    except error as wrong:
        raise ValueError(f"record {name[:40]!r} is not a cache's") from wrong
    return data[_KEY_START:end], (data[end:], expires), slot, used


def decode_key(name: bytes, data: bytes | memoryview) -> bytes:
    """The key of a record of an item, without copying its value."""
    if name[:1] == _KEY:
        return name[1:]
    return bytes(data[_KEY_START : _KEY_START + _KEY_SIZE.unpack_from(data, _HEAD_SIZE)[0]])


def decode_head(data: bytes | memoryview) -> tuple[float, int, int]:
    """Expiry, slot and time of the last use, from the record of an item."""
    head: tuple[float, int, int] = _unpack_head(data)
    return head


def decode_version_1(name: bytes, data: bytes) -> tuple[bytes, Item]:
    """The item of a record in a file of version 1.

    Raises:
        ValueError: the record is not an item.
    """
    if len(data) < _OLD_HEAD.size:
        raise ValueError(f"record {name[:40]!r} is not a cache's")
    return name, (data[_OLD_HEAD.size :], _OLD_HEAD.unpack_from(data)[0])


def encode_expiry(expires: float, name: bytes) -> bytes:
    """The name of the record that says when an item expires."""
    return EXPIRIES + _TIME.pack(expires) + name


def decode_expiry(name: bytes) -> tuple[float, bytes]:
    """The time of expiry, and the name of the item."""
    return _TIME.unpack_from(name, 1)[0], name[9:]


def encode_use(used: int, name: bytes) -> bytes:
    """The name of the record for the last use of an item."""
    return USES + _USE.pack(used) + name


def decode_use(name: bytes) -> tuple[int, bytes]:
    """The time of the last use, and the name of the item."""
    return _USE.unpack_from(name, 1)[0], name[9:]


def encode_slot(slot: int) -> bytes:
    """The name of the record that says that a slot is free."""
    return FREE_SLOTS + _SLOT.pack(slot)


def decode_slot(name: bytes) -> int:
    """The slot that is free."""
    slot: int = _SLOT.unpack_from(name, 1)[0]
    return slot
