"""The grammar of a request's head: target and headers, by llhttp (through httptools). Floor 1.

llhttp refuses bare CR and LF, folded lines, control characters, spaces before colons, two Content-Lengths, and so on.
What it tolerates and we do not is refused in `http1.py`, which also decides what the headers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._wire.request import Headers

__all__ = ["FIELDS", "Found", "HeadReader"]

# Headers about framing and routing. Only Connection may be repeated: with the others it is never an innocent accident.
FIELDS = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade"))

_TOKEN_START = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

# What llhttp says where 400 is not the best answer. Should its words change, these become 400 as well.
_STATUS_OF = {
    "Invalid HTTP version": 505,
    "Pause on PRI/Upgrade": 505,  # the preface of HTTP/2
    "Invalid method for HTTP/x.x request": 501,
}

# Header name as sent -> lower-cased. Strangers choose them, so the cache is bounded.
_CACHED = 1024
_lowered: dict[bytes, bytes] = {}


class Found:
    """What llhttp has found in the head it is reading.

    `fields` has the headers of `FIELDS`, joined with a comma where they were repeated; `repeated` is the name of one
    that must not be, or b"". `ended` says that llhttp, too, has seen the end of the head.

    It does not know its reader: the two would keep each other alive until the cycle collector comes.
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
                if name != b"connection":
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
    """Reads heads, one after the other, in pieces. `found` fills up; whoever takes what is in it clears it.

    `spent` says that llhttp is in no state to read another head: call `renew` first.
    """

    __slots__ = ("_feed", "_llhttp", "found", "spent")

    def __init__(self) -> None:
        self.found = Found()
        self.renew()

    def renew(self) -> None:
        """Start afresh, between two heads."""
        self._llhttp = HttpRequestParser(self.found)
        # Whether a request may follow is for `http1.py` to decide; llhttp would stop after "Proxy-Connection: close".
        self._llhttp.set_dangerous_leniencies(lenient_keep_alive=True)
        self._feed = self._llhttp.feed_data
        self.spent = False

    def method(self) -> str:
        """The method of the newest head."""
        name: bytes = self._llhttp.get_method()
        return name.decode()

    def read(self, piece: bytes, first: int) -> None:
        """Read the next piece of a head, or the whole of it.

        Args:
            piece: bytes up to the end of the head at most.
            first: the first byte of this head, which tells an unknown method from what is not HTTP.
        Raises:
            RemoteProtocolError: this is not the head of a request.
        """
        try:
            self._feed(piece)
        except HttpParserUpgrade:
            self.spent = True
        except HttpParserInvalidMethodError:
            if first in _TOKEN_START:
                raise RemoteProtocolError("the method is not known", 501) from None
            raise RemoteProtocolError("this is not HTTP") from None
        except HttpParserError as error:
            if not self.found.ended:
                raise RemoteProtocolError(f"the head is malformed: {error}", _STATUS_OF.get(str(error), 400)) from None
            # The one complaint about a head that has ended is about its Transfer-Encoding, which `http1.py` judges.
            self.spent = True
