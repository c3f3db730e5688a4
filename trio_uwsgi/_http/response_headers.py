"""The headers of a response: checked, and as lines. Pure.

That happens for each response, so what repeats is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from trio_uwsgi.errors import LocalProtocolError

__all__ = [
    "DIGITS",
    "FIELDS",
    "NOTED",
    "NOT_IN_TRAILERS",
    "TEXT",
    "check_field",
    "checked_field",
    "encoded_headers",
    "own_members",
]

T = TypeVar("T")

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TEXT: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# Hop-by-hop headers that add nothing to what the server sends: left out. Any other is an error.
_LEFT_OUT: Final = (b"keep-alive", b"proxy-connection")
# Hop-by-hop headers that are lists, and the members that may be in them.
_MEMBERS: Final = {b"connection": {b"close", b"keep-alive"}, b"transfer-encoding": {b"chunked"}}

# Applications use few headers, but clients may make them echo others: the caches are bounded.
_CACHED: Final = 1024
_CACHED_LINE: Final = 256

DIGITS: Final = 18  # of a Content-Length: more than any disk holds, and still a 64-bit integer elsewhere

# Headers that are not passed on unread. They belong to the connection, which is the server's, or say something about
# the body.
NOTED: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"server",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# RFC 9110 6.5.1: what a recipient has to know before the body, or what routes the message.
NOT_IN_TRAILERS: Final = NOTED - {b"date", b"server"} | {
    *(b"authorization", b"cache-control", b"content-encoding", b"content-range", b"content-type"),
    *(b"host", b"location", b"set-cookie", b"vary", b"www-authenticate"),
}
_HOP_BY_HOP: Final = (
    "%s: %r is a hop-by-hop header, which only the server may set; leave it out, as a proxy does with those of the "
    "responses that it forwards"
)
FIELDS: Final[dict[object, tuple[bytes, bytes, bytes, int]]] = {}  # header, checked -> what `checked_field` says of it
_pairs: Final[dict[object, Sequence[bytes]]] = {}  # header of WSGI -> encoded


def checked_field(header: Sequence[object]) -> tuple[bytes, bytes, bytes, int]:
    """Check one header.

    Returns:
        Its line; its lower-cased name if it is of NOTED, or else b""; its value; and its number if it is a plain
        Content-Length, or else -1.
    """
    name, value = check_field(header)
    line = b"%b: %b\r\n" % (name, value)
    lowered = name.lower()
    plain = lowered == b"content-length" and value.isdigit() and len(value) <= DIGITS
    field = line, lowered if lowered in NOTED else b"", value, int(value) if plain else -1
    _remember(FIELDS, header, field, len(line), lowered)
    return field


def _remember(cache: dict[object, T], header: Sequence[object], found: T, size: int, lowered: bytes) -> None:
    # A header repeats always (content-type) or never (a request's id): clear the cache when it is full.
    # Cookies are not kept: they do not repeat, and they are secrets.
    if size <= _CACHED_LINE and lowered != b"set-cookie":
        if len(cache) >= _CACHED:
            cache.clear()
        cache[tuple(header)] = found


def encoded_headers(headers: Iterable[Sequence[str]]) -> list[Sequence[bytes]]:
    """The headers of a WSGI application, as bytes.

    Raises:
        AttributeError, TypeError, ValueError: one is not a pair of texts in latin-1.
    """
    known = _pairs.get
    return [(known(header) if type(header) is tuple else None) or _encoded(header) for header in headers]


def _encoded(header: Sequence[str]) -> Sequence[bytes]:
    name, value = header
    pair: Sequence[bytes] = name.encode("latin-1"), value.encode("latin-1")
    _remember(_pairs, header, pair, len(pair[0]) + len(pair[1]), pair[0].lower())
    return pair


def check_field(header: Sequence[object]) -> tuple[bytes, bytes]:
    """Name and value of a header, if they can be sent.

    Raises:
        LocalProtocolError: they cannot.
    """
    try:
        name, value = header
    except (TypeError, ValueError):
        raise LocalProtocolError(f"header {header!r} is not a pair of bytes") from None
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise LocalProtocolError(f"header {name!r}: {value!r} is not a pair of bytes")
    if _TOKEN.fullmatch(name) is None:
        raise LocalProtocolError(f"{name!r} is not a header name")
    if TEXT.fullmatch(value) is None:
        raise LocalProtocolError(f"header {name!r}: {value!r} has control characters")
    return name, value


def own_members(name: bytes, value: bytes) -> set[bytes]:
    """The members of a hop-by-hop header that may be given, though it is not passed on."""
    if name in _LEFT_OUT:
        return set()
    # RFC 9110 5.6.1: members may be empty, and so may the list.
    members = {member.strip(b" \t").lower() for member in value.split(b",")} - {b""}
    if not members <= _MEMBERS.get(name, set()) or name not in _MEMBERS:
        raise LocalProtocolError(_HOP_BY_HOP % (name.decode(), value))
    return members
