"""The name in the first message of a TLS client."""

from __future__ import annotations

import ssl

import pytest

from trio_uwsgi._http.client_hello import MOST, server_name

pytestmark = pytest.mark.pure


def of_openssl(name: str | None) -> bytes:
    """The first message of OpenSSL's client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def field(size: int, content: bytes) -> bytes:
    """A field after its length."""
    return len(content).to_bytes(size, "big") + content


def message(extensions: bytes | None, kind: bytes = b"\x01") -> bytes:
    """A first message; None: one without extensions, as clients of twenty years ago sent."""
    body = bytes(34) + field(1, b"session") + field(2, b"\x13\x01") + field(1, b"\0")
    body += b"" if extensions is None else field(2, extensions)
    return kind + field(3, body)


def records(data: bytes, size: int = 16384) -> bytes:
    """A message in records of at most this size."""
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x01" + field(2, part) for part in parts)


def name(content: bytes, kind: bytes = b"\0") -> bytes:
    """The extension."""
    return b"\0\0" + field(2, field(2, kind + field(2, content)))


OTHER = b"\x00\x10" + field(2, b"alpn")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (of_openssl("www.Example.org"), "www.example.org"),
        (of_openssl(None), ""),
        (records(message(name(b"a.b"))), "a.b"),
        (records(message(OTHER + name(b"a.b") + OTHER)), "a.b"),
        (records(message(name(b"a.b")), 20), "a.b"),
        (records(message(name(b"a.b"))) + b"more", "a.b"),
        (b"\x16\x03\x01\0\0" + records(message(name(b"a.b"))), "a.b"),
        (records(message(name(b"a.b")), 5), ""),  # too many records
        (records(message(OTHER)), ""),
        (records(message(b"")), ""),
        (records(message(None)), ""),
        (records(message(name(b"\xff.b"))), ""),
        (records(message(name(b"a\0b"))), ""),
        (records(message(name(b"a.b", b"\1"))), ""),
        (records(message(b"\0\0" + field(2, field(2, b"")))), ""),
        (records(message(b"\0\0\xff\xff")), ""),
        (records(message(name(b"a.b"), b"\2")), ""),
        (b"\x15\x03\x01\0\2\2\2", ""),
        (b"GET", ""),
        (b"\x16\x03\x01\xff\xff" + bytes(MOST), ""),
        (records(b"\x01\xff\xff\xff" + bytes(MOST)), ""),
        (b"", None),
        (b"\x16", None),
        (records(message(name(b"a.b")))[:-1], None),
        (records(message(name(b"a.b")), 20)[:50], None),
    ],
)
def test_the_name(data: bytes, expected: str | None) -> None:
    """In lower case; "" if there is none that can be read; None until the message is complete."""
    assert expected == server_name(data)


@pytest.mark.parametrize("size", [1000, 60])
def test_each_beginning_waits_for_more(size: int) -> None:
    """Wherever it is cut."""
    data = records(message(OTHER + name(b"a.b") + OTHER), size)
    assert [None] * len(data) + ["a.b"] == [server_name(data[:end]) for end in range(len(data) + 1)]
