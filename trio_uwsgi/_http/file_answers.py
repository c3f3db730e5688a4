"""The answer to a request for a file: conditions, ranges and headers (RFC 9110, sections 13 to 15). Pure.

What a file is, and which encodings of it there are, is looked up in `static_files.py`; its bytes are sent elsewhere.
"""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Callable
from email.utils import formatdate, parsedate_tz
from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi._http.file_ranges import ALL, NONE, read_ranges

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Headers

__all__ = ["ENCODINGS", "FileAnswer", "FileFacts", "answer_file", "plain_answer", "wanted_encodings"]

# What a file beside the file may be encoded with, the better one first, and how its name ends.
ENCODINGS = {b"br": b".br", b"gzip": b".gz"}

_NEEDED = frozenset(
    (
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)
_TAG = re.compile(rb'(W/)?("[^"]*")')
_LAST_SECOND = 253_402_300_799  # of the year 9999
_CACHED_VALUE = 256


class FileFacts(NamedTuple):
    """What is known of the file that is sent. `encoding` is b"" for the file itself; with `varies` there are others.
    `max_age` is the seconds for which a client may keep it, -1 if nothing is said.
    """

    size: int
    mtime_ns: int
    content_type: bytes
    encoding: bytes = b""
    varies: bool = False
    max_age: int = -1


class FileAnswer(NamedTuple):
    """Status, headers, and the pieces of the body: bytes, or offset and count of a part of the file."""

    status: int
    headers: Headers
    pieces: list[bytes | tuple[int, int]]


def _needed(headers: Headers) -> dict[bytes, bytes]:
    """The headers that matter for a file; repeated ones are joined."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _NEEDED:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def wanted_encodings(accept: bytes) -> tuple[bytes, ...]:
    """Of `ENCODINGS`, those that an Accept-Encoding header prefers to the file itself, the best first."""
    return _wanted(accept) if len(accept) <= _CACHED_VALUE else _wanted.__wrapped__(accept)


@functools.lru_cache(1024)
def _wanted(accept: bytes) -> tuple[bytes, ...]:
    qualities: dict[bytes, float] = {}
    for member in accept.lower().split(b","):
        coding, *parameters = (part.strip(b" \t") for part in member.split(b";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                match = re.fullmatch(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?", parameter[2:])
                quality = float(parameter[2:]) if match else 0.0
        qualities[b"gzip" if coding == b"x-gzip" else coding] = quality
    others = qualities.get(b"*", 0.0)
    least = qualities.get(b"identity", 0.0)
    found = [(qualities.get(coding, others), coding) for coding in ENCODINGS]
    found.sort(key=lambda item: -item[0])  # stable: of equal ones the better comes first
    return tuple(coding for quality, coding in found if quality > 0 and quality >= least)


def answer_file(method: str, headers: Headers, facts: FileFacts, boundary: Callable[[], bytes]) -> FileAnswer:
    """Decide what is sent of a file.

    Args:
        method: GET or HEAD, which has the headers of the whole file.
        headers: of the request.
        facts: about the file.
        boundary: makes the text between several ranges; it must not be in the file.
    """
    asked = _needed(headers)
    tag = b'"%x-%x%b"' % (facts.mtime_ns, facts.size, facts.encoding and b"-" + facts.encoding)
    seconds = min(max(facts.mtime_ns // 1_000_000_000, 0), _LAST_SECOND)
    modified = _date(seconds)
    common: Headers = [(b"last-modified", modified), (b"etag", tag)]
    if facts.varies:
        common.append((b"vary", b"Accept-Encoding"))
    if facts.max_age >= 0:
        common.append((b"cache-control", b"max-age=%d" % facts.max_age))
    status = _condition(asked, tag, modified, seconds)
    if status == 304:
        return FileAnswer(304, common, [])
    if status == 412:
        return plain_answer(412, "Precondition Failed")
    if facts.encoding:
        common.append((b"content-encoding", facts.encoding))
    if method == "GET" and b"range" in asked and asked.get(b"if-range", tag) in (tag, modified):
        ranges = read_ranges(asked[b"range"], facts.size)
        if ranges == NONE:
            answer = plain_answer(416, "Range Not Satisfiable")
            answer.headers.append((b"content-range", b"bytes */%d" % facts.size))
            return answer
        if ranges != ALL:
            return _partial(ranges, facts, common, boundary)
    common.append((b"content-type", facts.content_type))
    common.append((b"content-length", b"%d" % facts.size))
    common.append((b"accept-ranges", b"bytes"))
    return FileAnswer(200, common, [(0, facts.size)] if facts.size else [])


def plain_answer(status: int, text: str, *more: tuple[bytes, bytes]) -> FileAnswer:
    """An answer without a file."""
    body = text.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), *more]
    return FileAnswer(status, headers, [body])


@functools.lru_cache(1024)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def _condition(asked: dict[bytes, bytes], tag: bytes, modified: bytes, seconds: int) -> int:
    """The status that the conditions of the request ask for; 200 if they are met (RFC 9110, 13.2.2)."""
    if b"if-match" in asked:
        if not _matches(asked[b"if-match"], tag, weakly=False):
            return 412
    elif b"if-unmodified-since" in asked:
        date = _seconds_of(asked[b"if-unmodified-since"])
        if date is not None and seconds > date:
            return 412
    if b"if-none-match" in asked:
        return 304 if _matches(asked[b"if-none-match"], tag, weakly=True) else 200
    since = asked.get(b"if-modified-since")
    if since is None:
        return 200
    if since == modified:
        return 304
    date = _seconds_of(since)
    return 304 if date is not None and seconds <= date else 200


def _matches(value: bytes, tag: bytes, *, weakly: bool) -> bool:
    """Is the tag in a list of tags? A weak tag is not equal to anything where strong ones are compared."""
    if value == tag or value.strip(b" \t") == b"*":
        return True
    return any(found == tag and (weakly or not weak) for weak, found in _TAG.findall(value))


def _seconds_of(date: bytes) -> int | None:
    """A date of HTTP, in one of its three forms; None: it is not one."""
    parsed = parsedate_tz(date.decode("latin-1"))
    if parsed is None:
        return None
    try:
        return calendar.timegm(parsed[:9]) - (parsed[9] or 0)
    except (ValueError, OverflowError):
        return None


def _partial(
    ranges: list[tuple[int, int]], facts: FileFacts, common: Headers, boundary: Callable[[], bytes]
) -> FileAnswer:
    size = facts.size
    if len(ranges) == 1:
        ((start, count),) = ranges
        common.append((b"content-type", facts.content_type))
        common.append((b"content-range", b"bytes %d-%d/%d" % (start, start + count - 1, size)))
        common.append((b"content-length", b"%d" % count))
        return FileAnswer(206, common, [(start, count)])
    text = boundary()
    pieces: list[bytes | tuple[int, int]] = []
    for start, count in ranges:
        pieces.append(
            b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
            % (text, facts.content_type, start, start + count - 1, size)
        )
        pieces.append((start, count))
    pieces.append(b"\r\n--%b--\r\n" % text)
    length = sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces)
    common.append((b"content-type", b"multipart/byteranges; boundary=%b" % text))
    common.append((b"content-length", b"%d" % length))
    return FileAnswer(206, common, pieces)
