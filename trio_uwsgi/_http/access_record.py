"""One response as a value, and as a line of the access log.

What the client chose is escaped, so that it cannot forge lines or send sequences to a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.request import Request

__all__ = ["LogNotes", "Record", "escape", "how_it_ended", "note_head", "peer_name", "usual_line"]


class LogNotes:
    """What an application says of its request's line: log variables, variables beside those of the environ (`added`),
    and whether it asked for the line. And `head`: the bytes of the response's head and how many headers it has, if the
    format of the line shows them.
    """

    __slots__ = ("added", "asked", "head", "variables")

    def __init__(self) -> None:
        self.variables: dict[str, bytes] = {}
        self.added: dict[str, bytes] = {}
        self.asked = False
        self.head = (0, 0)


class Record(NamedTuple):
    """One response: `sent` in body bytes, `seconds` from its request's head to its last byte handed to the socket.

    `status` is 0 if none was sent; `end` marks an incomplete response: cut or dropped.
    """

    peer: Peer
    request: Request
    status: int
    sent: int
    seconds: float
    end: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """The log variables that the application has set."""
        notes = self.request.log_notes
        return {} if notes is None else {k: v.decode("utf-8", "backslashreplace") for k, v in notes.variables.items()}

    def __str__(self) -> str:
        return usual_line(*self)


def usual_line(peer: Peer, request: Request, status: int, sent: int, seconds: float, end: str) -> str:
    """The line of a response: see `Record`."""
    address, port = request.remote()
    client = f"{escape(address)}:{escape(port)}".rstrip(":") if address else peer_name(peer)
    method = request.method
    if not (method.isascii() and method.isalpha()):
        method = escape(method.encode("latin-1"))
    return (
        f'{client} - "{method} {escape(request.target)} HTTP/{request.http_version}" {status or "-"} {sent}b '
        f"{seconds * 1000:.1f}ms{end}"
    )


def how_it_ended(exchange: Exchange, answer: bytes) -> tuple[int, int, str]:
    """Status, bytes and end, as in a `Record`, of a response that was cut in the middle, dropped, or replaced by the
    server's own `answer`.
    """
    status, sent, end = exchange.status, exchange.sent, " cut"
    if answer:
        sent, end = len(answer.partition(b"\r\n\r\n")[2]), ""
        note_head(exchange.request, answer)
    elif not exchange.head_sent:
        status, sent, end = 0, 0, " dropped"
    elif exchange.response.bodyless:
        sent = 0
    return status, sent, end


def note_head(request: Request, data: bytes) -> None:
    """Note the size of the response's head, and the number of its headers. The first `data` of a request begin with
    the head, the others do nothing.
    """
    if request.log_notes is None:
        request.log_notes = LogNotes()
    end = data.find(b"\r\n\r\n")
    if request.log_notes.head == (0, 0) and end >= 0:
        request.log_notes.head = end + 4, data.count(b"\r\n", 0, end)


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
