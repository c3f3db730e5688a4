"""Packets of the uwsgi protocol: the format of client requests, of calls between nodes, and of spool files. Pure.

A packet is

    modifier1   1 byte    its kind: one of the constants below
    size        2 bytes   of the body, little endian
    modifier2   1 byte    details, by modifier1
    body        `size` bytes: vars (names and values), an array, or raw bytes

where every name, value and item has its size before it, also in 2 bytes. Longer ones are refused here; uWSGI sends the
lower 16 bits of their length. `_http/uwsgi_requests.py` and `remote_calls.py` interpret the packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

from trio_uwsgi.errors import RemoteProtocolError

__all__ = [
    "CACHE",
    "HEADER_SIZE",
    "HELLO",
    "MANAGED",
    "MAX_BODY",
    "PING",
    "RESPONSE",
    "RPC",
    "SIGNAL",
    "SPOOL",
    "WSGI",
    "decode_array",
    "decode_header",
    "decode_vars",
    "encode_array",
    "encode_packet",
    "encode_vars",
]

HEADER_SIZE: Final = 4
MAX_BODY: Final = 65535

WSGI: Final = 0
SPOOL: Final = 17
MANAGED: Final = 30  # as WSGI, and the server has to remove SCRIPT_NAME from PATH_INFO
PING: Final = 100
SIGNAL: Final = 110
CACHE: Final = 111
RPC: Final = 173
HELLO: Final = 174  # our own: uWSGI has no handler for it
RESPONSE: Final = 255

_HEADER: Final = Struct("<BHB")
_pack_header: Final = _HEADER.pack
_unpack_header: Final = _HEADER.unpack_from
_SIZES: Final = [size.to_bytes(2, "little") for size in range(256)]  # most names and values are short


def encode_packet(modifier1: int, modifier2: int, body: bytes) -> bytes:
    """Make a packet.

    Raises:
        ValueError: the body has more than `MAX_BODY` bytes.
    """
    if len(body) > MAX_BODY:
        raise ValueError(f"the body of a uwsgi packet has at most {MAX_BODY} bytes, and this one has {len(body)}")
    return _pack_header(modifier1, len(body), modifier2) + body


def decode_header(data: bytes | bytearray, position: int = 0) -> tuple[int, int, int]:
    """Read the first `HEADER_SIZE` bytes of the packet at `position`: modifier1, the size of its body, modifier2.

    Raises:
        RemoteProtocolError: there are fewer bytes.
    """
    size = len(data) - position
    if size < HEADER_SIZE:
        raise RemoteProtocolError(f"the header of a uwsgi packet has {HEADER_SIZE} bytes, and this one has {size}")
    header: tuple[int, int, int] = _unpack_header(data, position)
    return header


def _size(what: str, value: bytes) -> bytes:
    size = len(value)
    if size < 256:
        return _SIZES[size]
    if size > MAX_BODY:
        raise ValueError(f"{what} has at most {MAX_BODY} bytes, and this one has {size}")
    return size.to_bytes(2, "little")


def encode_vars(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Make a body of names and values, in their order. A name may be repeated.

    Raises:
        ValueError: a name is empty, or a name or a value has more than `MAX_BODY` bytes.
    """
    pieces: list[bytes] = []
    for name, value in pairs:
        if not name:
            raise ValueError(f"the name of a var is empty; its value is {value[:40]!r}")
        pieces += (_size("the name of a var", name), name, _size(f"the value of var {name[:40]!r}", value), value)
    return b"".join(pieces)


def decode_vars(body: bytes, max_vars: int) -> list[tuple[bytes, bytes]]:
    """Read a body of names and values, in their order, repeated ones too.

    Raises:
        RemoteProtocolError: it ends inside of a var, a name is empty, or (status 431) it has more than `max_vars`.
    """
    pairs: list[tuple[bytes, bytes]] = []
    position = 0
    size = len(body)
    try:
        while position < size:
            # If a name or value is cut off, the next position is at or beyond the end.
            start = position + 2
            end = start + body[position] + (body[position + 1] << 8)
            value = end + 2
            position = value + body[end] + (body[end + 1] << 8)
            pairs.append((body[start:end], body[value:position]))
            if start == end:
                raise RemoteProtocolError(f"the name of var {len(pairs)} is empty")
    except IndexError:
        raise RemoteProtocolError(f"var {len(pairs) + 1} is cut off: the packet's {size} bytes end before it") from None
    if position != size:
        raise RemoteProtocolError(f"var {len(pairs)} is cut off: it ends at byte {position}, the packet at {size}")
    if len(pairs) > max_vars:
        raise RemoteProtocolError(f"there are more than {max_vars} vars", 431)
    return pairs


def encode_array(items: Sequence[bytes]) -> bytes:
    """Make a body of items without names.

    Raises:
        ValueError: an item has more than `MAX_BODY` bytes.
    """
    pieces: list[bytes] = []
    for number, item in enumerate(items):
        pieces += (_size(f"item {number} of an array", item), item)
    return b"".join(pieces)


def decode_array(body: bytes, max_items: int) -> list[bytes]:
    """Read a body of items without names.

    Raises:
        RemoteProtocolError: it ends inside of an item, or has more than `max_items`.
    """
    items: list[bytes] = []
    position = 0
    size = len(body)
    try:
        while position < size:
            start = position + 2
            position = start + body[position] + (body[position + 1] << 8)
            items.append(body[start:position])
    except IndexError:
        raise RemoteProtocolError(f"item {len(items)} is cut off: the packet's {size} bytes end before it") from None
    if position != size:
        raise RemoteProtocolError(f"item {len(items) - 1} is cut off: it ends at byte {position}, the packet at {size}")
    if len(items) > max_items:
        raise RemoteProtocolError(f"there are more than {max_items} items")
    return items
