"""How the items of a cache are written into a file: names and values of LMDB's records. Pure.

One tree holds all records of a cache; the first byte of a record's name says what it is. In their order:

    V            the version of all this; less than 8 bytes, as no record of version 1 has
    c            how many items there are, and how many slots have been given
    e time name  one for each item that expires: the first of them expires first
    f slot       one for each slot that was given and is free again
    h digest     as `i`, for a key that is too long for a name; the key is before the value
    i key        an item: when it expires, its slot, when it was used, its value
    p            for which processes the file was made ready, and how
    u use name   one for each item of an `lru` cache: the first was used first, as far as the file knows

`c`, `e`, `f`, `p` and `u` are there while processes share the file. One that has it for itself keeps such things in
its own memory, and writes `V`, `h` and `i` only.

In version 1 a record was an item, its name the key, its value 8 bytes of expiry (a double; infinity: never) and the
value.
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
# For which run of a runtime; what makes its uses come after those that are in the file; items, max_key, max_value and
# lru of the cache.
PREPARED_NAME, PREPARED = b"p", Struct("<16sQQQQ?")

# LMDB's names have at most 511 bytes, and those of the indexes have 9 more than those of items.
_LONGEST = 500

_HEAD = Struct("<dIQ")
_HEAD_SIZE = _HEAD.size
_unpack_head = _HEAD.unpack_from
_KEY_SIZE = Struct("<I")
_KEY_START = _HEAD_SIZE + _KEY_SIZE.size
_TIME = Struct(">d")  # doubles from 0 to infinity, so written, are in order as bytes
_USE = Struct(">Q")
_SLOT = Struct(">I")
_OLD_HEAD = Struct("<d")


# An item as it is in the file: its key, itself, its slot, when it was used as far as the file knows.
Record: TypeAlias = "tuple[bytes, Item, int, int]"


def name_of(key: bytes) -> bytes:
    """The name of the record that holds the item of that key. Two keys with one name were never found by anybody."""
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
        ValueError: it is none.
    """
    try:
        expires, slot, used = _unpack_head(data)
        if name[:1] == _KEY:
            return name[1:], (data[_HEAD_SIZE:], expires), slot, used
        end = _KEY_START + _KEY_SIZE.unpack_from(data, _HEAD_SIZE)[0]
    except error as wrong:
        raise ValueError(f"record {name[:40]!r} is none of a cache") from wrong
    return data[_KEY_START:end], (data[end:], expires), slot, used


def decode_key(name: bytes, data: bytes | memoryview) -> bytes:
    """The key of a record of an item, without copying its value."""
    if name[:1] == _KEY:
        return name[1:]
    return bytes(data[_KEY_START : _KEY_START + _KEY_SIZE.unpack_from(data, _HEAD_SIZE)[0]])


def decode_head(data: bytes | memoryview) -> tuple[float, int, int]:
    """Of a record of an item: when it expires, its slot, when it was used."""
    head: tuple[float, int, int] = _unpack_head(data)
    return head


def decode_version_1(name: bytes, data: bytes) -> tuple[bytes, Item]:
    """The item of a record of a file that was written before there were versions.

    Raises:
        ValueError: it is none.
    """
    if len(data) < _OLD_HEAD.size:
        raise ValueError(f"record {name[:40]!r} is none of a cache")
    return name, (data[_OLD_HEAD.size :], _OLD_HEAD.unpack_from(data)[0])


def encode_expiry(expires: float, name: bytes) -> bytes:
    """The name of the record that says when an item expires."""
    return EXPIRIES + _TIME.pack(expires) + name


def decode_expiry(name: bytes) -> tuple[float, bytes]:
    """When it expires, and the name of the item."""
    return _TIME.unpack_from(name, 1)[0], name[9:]


def encode_use(used: int, name: bytes) -> bytes:
    """The name of the record that says when an item was used."""
    return USES + _USE.pack(used) + name


def decode_use(name: bytes) -> tuple[int, bytes]:
    """When it was used, and the name of the item."""
    return _USE.unpack_from(name, 1)[0], name[9:]


def encode_slot(slot: int) -> bytes:
    """The name of the record that says that a slot is free."""
    return FREE_SLOTS + _SLOT.pack(slot)


def decode_slot(name: bytes) -> int:
    """The slot that is free."""
    slot: int = _SLOT.unpack_from(name, 1)[0]
    return slot
