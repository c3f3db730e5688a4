"""The grammar of a request's head: target and headers, by llhttp (through httptools). Pure.

llhttp refuses bare CR and LF, folded lines, control characters, spaces before colons, two Content-Lengths, and so on.
What it tolerates and we do not is refused in `http1.py`, which also decides what the headers mean.

In the compiled build most heads do not get as far as llhttp: `read_plain` is the function of `plain_heads.c` there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Headers

__all__ = ["FIELDS", "Found", "Head", "HeadReader", "read_plain"]

Head = tuple[int, str, bytes, str, list[tuple[bytes, bytes]], dict[bytes, bytes]]
"""Where it ends in the input; method, target, version, headers, and those of `FIELDS` by name."""

# Headers about framing and routing. Only lists may be repeated: a repetition of the others may be an attack.
FIELDS: Final = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade"))
_LISTS: Final = (b"connection", b"transfer-encoding")

# llhttp knows a list of methods, which depends on its release, and other protocols for some of them; HTTP allows any
# token. So llhttp gets these as they are, and POST in place of any other: to llhttp a method changes nothing after it,
# except CONNECT, which is refused here, and PRI, the preface of HTTP/2.
_SHOWN: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PRI")
}
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")

_NOT_HTTP: Final = "this is not HTTP: a request begins with a method and a space"

# Errors of llhttp for which 400 is not the best status. Should their text change, they become 400 as well.
_STATUS_OF: Final = {"Pause on PRI/Upgrade": 505}

_COMPLAINTS: Final = (HttpParserError, HttpParserUpgrade)

# Header name as sent -> lower-cased. Clients choose them, so the cache is bounded.
_CACHED: Final = 1024
_lowered: Final[dict[bytes, bytes]] = {}


def _read_none(data: bytes, start: int, longest: int, most: int, /) -> Head | None:
    """What takes the place of `read_plain` where `plain_heads.c` is not compiled.

    Args:
        data: input.
        start: where a head begins in it.
        longest: bytes that it may have.
        most: headers that it may have.
    Returns:
        The head. None: it is not whole, or not plain; `HeadReader` reads it.
    """
    return None


try:
    from trio_uwsgi._http.plain_heads import read_plain
except ImportError:
    read_plain = _read_none


class Found:
    """What llhttp has found in the head it is reading.

    `fields` has the headers of `FIELDS`, joined with a comma where they were repeated; `repeated` is the name of one
    that must not be, or b"". `ended` says that llhttp, too, has seen the end of the head.

    It has no reference to its reader: a cycle would keep both alive until the garbage collector runs.
    """

    __slots__ = ("ended", "fields", "headers", "repeated", "target")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.target = b""
        self.headers: Headers = []
        self.fields: dict[bytes, bytes] = {}
        self.repeated = b""
        self.ended = False

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        try:
            name = _lowered[name]
        except KeyError:
            name = _lower(name)
        value = value.rstrip()  # llhttp has refused all white space but blanks and tabs
        self.headers.append((name, value))
        if name in FIELDS:
            fields = self.fields
            if name in fields:
                if name not in _LISTS:
                    self.repeated = name
                value = fields[name] + b"," + value
            fields[name] = value

    def on_headers_complete(self) -> None:
        self.ended = True


def _lower(name: bytes) -> bytes:
    lowered = name.lower()
    if len(_lowered) < _CACHED:
        _lowered[name] = lowered
    return lowered


class HeadReader:
    """Reads heads, one after the other, whole or in pieces. It fills `found`; the caller clears that after each head.

    `method` is that of the newest head, "" until it is known. `spent` says that llhttp cannot read another head, and is
    made anew for it.
    """

    __slots__ = ("_feed", "_llhttp", "found", "method", "spent")

    found: Found  # once `read` was called

    def __init__(self) -> None:
        self.method = ""
        self.spent = True  # most connections have plain heads only

    def _renew(self) -> None:
        """Make a new llhttp parser, between two heads."""
        self.found = Found()
        self._llhttp = HttpRequestParser(self.found)
        # `http1.py` decides whether a request may follow (llhttp would stop after "Proxy-Connection: close"), and which
        # versions are supported (llhttp has a fixed list).
        self._llhttp.set_dangerous_leniencies(lenient_keep_alive=True, lenient_version=True)
        self._feed = self._llhttp.feed_data
        self.spent = False

    def read(self, head: bytes) -> None:
        """Read a head: the whole of it, or its first piece, if that has the method and the space after it.

        Raises:
            RemoteProtocolError: this is not the head of a request, or it is one for a proxy.
        """
        if self.spent:
            self._renew()
        blank = head.find(b" ")
        method = _SHOWN.get(head[:blank])
        if method is None:
            self.method = ""
            method = _own_method(head[: max(blank, 0)])
            head = b"POST" + head[blank:]
        self.method = method
        try:
            self._feed(head)
        except _COMPLAINTS as error:
            self._judge(error)

    def read_part(self, partial: bytearray, seen: int) -> None:
        """Read the next piece of a head that comes in pieces.

        Args:
            partial: the part of the head that has arrived.
            seen: how many of its bytes were read before.
        Raises:
            RemoteProtocolError: as `read`.
        """
        if not seen:
            self.method = ""
        if self.method:
            try:
                self._feed(bytes(partial[seen:]))
            except _COMPLAINTS as error:
                self._judge(error)
        elif partial.find(b" ", seen) >= 0:
            self.read(bytes(partial))
        elif _TOKEN.fullmatch(partial, seen) is None:
            raise RemoteProtocolError(_NOT_HTTP)

    def _judge(self, error: Exception) -> None:
        # After the end of a head llhttp reports a request for an upgrade, and errors of Transfer-Encoding. `http1.py`
        # decides about both.
        if not (self.found.ended or isinstance(error, HttpParserUpgrade)):
            raise RemoteProtocolError(f"the head is malformed: {error}", _STATUS_OF.get(str(error), 400)) from None
        self.spent = True


def _own_method(token: bytes) -> str:
    """A method that llhttp does not get: WebDAV's, or the application's own."""
    if not token or _TOKEN.fullmatch(token) is None:
        raise RemoteProtocolError(_NOT_HTTP)
    if token == b"CONNECT":
        raise RemoteProtocolError("this is not a proxy: CONNECT is not supported", 501)
    return token.decode("ascii")
