"""The usual line of a response in the access log. Pure.

What the client chose is escaped, so that it cannot forge lines or send sequences to a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request

__all__ = ["escape", "peer_name", "usual_line"]


def usual_line(peer: Peer, request: Request, status: int, sent: int, seconds: float, end: str) -> str:
    """The line of a response: the arguments are those of `Record`."""
    address, port = request.remote()
    client = f"{escape(address)}:{escape(port)}".rstrip(":") if address else peer_name(peer)
    method = request.method
    if not (method.isascii() and method.isalpha()):
        method = escape(method.encode("latin-1"))
    tenths = round(seconds * 10_000)  # of a millisecond: a format for numbers with a point costs more than the rest
    shown = str(status) if status else "-"
    return (
        f'{client} - "{method} {escape(request.target)} HTTP/{request.http_version}" {shown} {sent}b '
        f"{tenths // 10}.{tenths % 10}ms{end}"
    )


def peer_name(peer: Peer) -> str:
    """The client as a log shows it; clients of unix sockets are all `unix`."""
    return "unix" if peer.client is None else f"{peer.client[0]}:{peer.client[1]}"


def escape(text: bytes) -> str:
    """Client-controlled bytes as printable ASCII, quotes and backslashes escaped too."""
    if text.isascii():
        plain = text.decode("ascii")
        if plain.isprintable() and '"' not in plain and "\\" not in plain:
            return plain
    return "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in text)
