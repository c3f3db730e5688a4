"""The PROXY protocol: headers of versions 1 and 2, whole and in pieces, and what is refused."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.proxy_header import Proxied, ProxyPreface, ProxyRules

pytestmark = pytest.mark.pure

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
NEXT = b"GET / HTTP/1.1\r\n"


def second(kind: int, family: int, block: bytes, length: int | None = None) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", kind, family, len(block) if length is None else length) + block


def addresses(client: str, server: str, ports: tuple[int, int] = (5000, 443)) -> bytes:
    """The addresses in one."""
    packed = [ipaddress.ip_address(text).packed for text in (client, server)]
    return b"".join(packed) + struct.pack("!HH", *ports)


V4, V6 = addresses("1.2.3.4", "10.0.0.9"), addresses("2001:db8::1", "::1")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"PROXY TCP4 1.2.3.4 10.0.0.9 5000 443\r\n", Proxied(("1.2.3.4", 5000), ("10.0.0.9", 443))),
        (b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n", Proxied(("2001:db8::1", 5000), ("::1", 443))),
        (b"PROXY UNKNOWN\r\n", Proxied(None, None)),
        (b"PROXY UNKNOWN ffff:f...f:ffff 1 2\r\n", Proxied(None, None)),
        (second(0x21, 0x11, V4), Proxied(("1.2.3.4", 5000), ("10.0.0.9", 443))),
        (second(0x21, 0x21, V6), Proxied(("2001:db8::1", 5000), ("::1", 443))),
        (second(0x21, 0x11, V4 + b"\x04\x00\x01x"), Proxied(("1.2.3.4", 5000), ("10.0.0.9", 443))),
        (second(0x20, 0x00, b""), Proxied(None, None)),
        (second(0x20, 0x11, V4), Proxied(None, None)),
        (second(0x21, 0x31, bytes(216)), Proxied(None, None)),
        (second(0x21, 0x00, b""), Proxied(None, None)),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_headers(header: bytes, found: Proxied, size: int) -> None:
    """What follows is kept."""
    preface = ProxyPreface(True)
    data = header + NEXT
    for start in range(0, len(data), size):
        assert [] == preface.feed(data[start : start + size])
        assert preface.in_head
        if preface.found is not None:
            break
    assert (None, found) == (preface.error, preface.found)
    assert NEXT.startswith(preface.rest)
    assert b"" == preface.refusal(400, "", b"", "GET")


@pytest.mark.parametrize(
    "header",
    [
        NEXT,
        b"POST / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP4 1.2.3.4 10.0.0.9 5000 443\n",
        b"PROXY TCP4 1.2.3.4 10.0.0.9 5000 65536\r\n",
        b"PROXY TCP4 1.2.3.4 10.0.0.9 05000 443\r\n",
        b"PROXY TCP4 ::1 ::1 5000 443\r\n",
        b"PROXY TCP6 1.2.3.4 10.0.0.9 5000 443\r\n",
        b"PROXY TCP4 999.2.3.4 10.0.0.9 5000 443\r\n",
        b"PROXY TCP4 1.2.3.4 10.0.0.9\r\n",
        b"PROXY UDP4 1.2.3.4 10.0.0.9 5000 443\r\n",
        b"PROXY  TCP4 1.2.3.4 10.0.0.9 5000 443\r\n",
        b"PROXY UNKNOWN" + b"x" * 107,
        b"PROXY UNKNOWNx\r\n",
        second(0x21, 0x11, V4[:-1]),
        second(0x31, 0x11, V4),
        second(0x22, 0x11, V4),
        second(0x21, 0x11, b"", 5000),
        SIGNATURE[:5] + b"x",
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_headers_that_are_refused(header: bytes, size: int) -> None:
    """Anything else ends the connection."""
    preface = ProxyPreface(True)
    for start in range(0, len(header), size):
        preface.feed(header[start : start + size])
        if preface.error is not None:
            break
    assert preface.error is not None
    assert preface.found is None


def peer(client: str | None = "10.0.0.1", listener: str = "0.0.0.0:8000", protocol: str = "http") -> Peer:
    """A connection."""
    address = None if client is None else (client, 1)
    return Peer(client=address, server=None, scheme="http", protocol=protocol, listener=listener)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sources", "connection", "expected"),
    [
        (["any"], peer(), "header"),
        (["any"], peer(protocol="uwsgi"), "plain"),
        (["unix"], peer(None), "header"),
        (["loopback"], peer(), "refused"),
        (["10.0.0.0/8"], peer(), "header"),
        (["192.0.2.0/24"], peer(), "refused"),
        ([":8000"], peer(), "header"),
        ([":8001"], peer(), "plain"),
        (["0.0.0.0:8000", "192.0.2.0/24"], peer(), "refused"),
        ([":8001", "192.0.2.0/24"], peer(), "plain"),
    ],
)
def test_rules(sources: list[str], connection: Peer, expected: str) -> None:
    """Addresses say where, the others who."""
    preface = ProxyRules(sources).preface(connection)
    if preface is None:
        assert "plain" == expected
        return
    assert (False, True) == (preface.in_head, preface.idle)
    preface.feed(b"PROXY UNKNOWN\r\n")
    assert (True, False) == (preface.in_head, preface.idle)
    assert expected == ("refused" if preface.error else "header")
