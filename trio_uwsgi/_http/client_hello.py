"""Finds the server's name in the first message of a TLS client. Pure.

OpenSSL could call a function with the name, but Python prints a traceback there if the name is no ASCII, which any
client can send. Here what cannot be read has no name, and OpenSSL refuses it if it is wrong.

The message may be in several records, and each record in several reads (RFC 8446 4 and 5.1, RFC 6066 3).
"""

from __future__ import annotations

__all__ = ["MOST", "server_name"]

# Bytes and records of a first message that are looked at, as it is read from its start after each read. Usually it is
# one record of 300 to 2,000 bytes.
MOST = 20_000
_MOST_RECORDS = 8

_HANDSHAKE = 22
_HELLO = b"\x01"
_SERVER_NAME = 0


class _Reader:
    """Reads numbers and fields; an IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise IndexError
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def field(self, size: int) -> bytes:
        """A field after its length, which has `size` bytes."""
        return self.take(self.number(size))


def server_name(data: bytes) -> str | None:
    """The name in lower case; "" if there is none, None if the message is not complete yet.

    Args:
        data: what the client has sent so far.
    """
    message = b""
    records = _Reader(data)
    try:
        for _ in range(_MOST_RECORDS):
            if records.number(1) != _HANDSHAKE:
                return ""
            records.take(2)  # a version
            message += records.field(2)
            if message[:1] not in (b"", _HELLO):
                return ""
            if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4], "big"):
                break
    except IndexError:
        return None if len(data) < MOST else ""
    try:
        return _name_in(_Reader(message[4:]))
    except IndexError:
        return ""


def _name_in(hello: _Reader) -> str:
    hello.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session, ciphers, compression
        hello.field(size)
    extensions = _Reader(hello.field(2))
    while extensions.at < len(extensions.data):
        kind, content = extensions.number(2), extensions.field(2)
        if kind == _SERVER_NAME:
            names = _Reader(_Reader(content).field(2))
            if names.number(1) == 0:  # a host name
                name = names.field(2)
                return name.decode().lower() if name.isascii() and b"\0" not in name else ""
            return ""
    return ""
