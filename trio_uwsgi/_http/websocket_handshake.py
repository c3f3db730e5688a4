"""The handshake of WebSocket over HTTP/1.1 (RFC 6455, section 4). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Headers, Request

__all__ = ["Offer", "Refused", "accept_headers", "is_handshake", "read_offer"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OWN = (b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol")


class Offer(NamedTuple):
    """What a client offers: its key, the subprotocols it speaks, and its extensions."""

    key: bytes
    subprotocols: list[str]
    extensions: bytes


class Refused(NamedTuple):
    """A handshake that cannot be accepted: what to answer."""

    status: int
    reason: str


def is_handshake(request: Request) -> bool:
    """Does a request whose `upgrade` is `websocket` speak of WebSocket? Any other is an ordinary request."""
    return any(name.startswith(b"sec-websocket-") for name, _ in request.headers)


def read_offer(request: Request) -> Offer | Refused:
    """Read a request whose `upgrade` is `websocket`."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        if name.startswith(b"sec-websocket-"):
            fields.setdefault(name, []).append(value)
    if request.method != "GET" or request.http_version != "1.1" or not request.complete:
        return Refused(400, "a WebSocket handshake is a GET request of HTTP/1.1 without a body")
    if fields.get(b"sec-websocket-version") != [b"13"]:
        return Refused(426, "the only version of WebSocket supported is 13")
    keys = fields.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        return Refused(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    protocols = b",".join(fields.get(b"sec-websocket-protocol", [])).decode("latin-1")
    return Offer(
        keys[0],
        [name.strip() for name in protocols.split(",") if name.strip()],
        b",".join(fields.get(b"sec-websocket-extensions", [])),
    )


def _is_key(text: bytes) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except binascii.Error:
        return False


def accept_headers(
    offer: Offer, subprotocol: str | None, extensions: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Headers:
    """The headers of a 101 response.

    Raises:
        LocalProtocolError: the application chose a subprotocol that the client does not speak, or gave a header that
            belongs to the handshake.
    """
    digest = hashlib.sha1(offer.key + _GUID, usedforsecurity=False).digest()
    own = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", base64.b64encode(digest)),
    ]
    if subprotocol is not None:
        if subprotocol not in offer.subprotocols:
            raise LocalProtocolError(
                f"the application accepted the subprotocol {subprotocol!r}; the client offers {offer.subprotocols}"
            )
        own.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
    if extensions:
        own.append((b"sec-websocket-extensions", extensions))
    given = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    for name, _ in given:
        if name in _OWN:
            raise LocalProtocolError(f"{name.decode()} is the server's; pass subprotocol= for a subprotocol")
    return own + given
