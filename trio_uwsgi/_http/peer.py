"""The facts of one connection: the addresses of both ends, scheme and protocol. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from trio_uwsgi._http.tls_facts import TlsFacts

__all__ = ["Peer"]


class Peer(NamedTuple):  # every connection has one, and a frozen dataclass is slower to make
    """The facts of one connection.

    Args:
        client: address and port of the client; None on a unix socket.
        server: address and port it connected to; path and None on a unix socket; None when not known.
        scheme: "http" or "https".
        protocol: HTTP, or the uwsgi protocol.
        listener: the address that was listened on, as text; "" if there was none.
        tls: what is known of an encrypted connection after its handshake.
    """

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: str
    protocol: Literal["http", "uwsgi"] = "http"
    listener: str = ""
    tls: TlsFacts | None = None
