"""The access log: one line per response, through `logging`, out of the requests' way.

A response costs a tuple in a list; formatting and logging happen in batches in a task of their own. What the client
chose is escaped, so that it cannot forge lines or send sequences to a terminal.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import trio

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.request import Peer, Request

logger = logging.getLogger("trio_uwsgi.access")

# Lines kept before they are written at once by whoever adds the next: a log slower than the server slows the server
# down, instead of growing memory or losing lines.
QUEUE = 4096
# Lines written between two checkpoints, so that a slow log stream delays other tasks by a batch and not by a queue.
BATCH = 64


class Record(NamedTuple):
    """One response: `sent` in body bytes, `seconds` from its request's head to its last byte handed to the socket.

    `status` is 0 if none was sent; `end` says what happened to a response that is not whole.
    """

    peer: Peer
    request: Request
    status: int
    sent: int
    seconds: float
    end: str = ""

    def __str__(self) -> str:
        request = self.request
        address, port = request.remote()
        client = f"{escape(address)}:{escape(port)}".rstrip(":") if address else peer_name(self.peer)
        return (
            f'{client} - "{escape(request.method.encode("latin-1"))} {escape(request.target)} '
            f'HTTP/{request.http_version}" {self.status or "-"} {self.sent}b {self.seconds * 1000:.1f}ms{self.end}'
        )


def cut_record(exchange: Exchange, answer: bytes, now: float) -> Record:
    """What is logged of a response that was given up: cut in the middle, dropped, or the server's own `answer`."""
    status, sent, end = exchange.status, exchange.sent, " cut"
    if answer:
        sent, end = len(answer.partition(b"\r\n\r\n")[2]), ""
    elif not exchange.head_sent:
        status, sent, end = 0, 0, " dropped"
    elif exchange.response.bodyless:
        sent = 0
    return Record(exchange.session.peer, exchange.request, status, sent, now - exchange.started, end)


class AccessLog:
    """Records waiting to be written, at most `QUEUE`."""

    __slots__ = ("_lot", "_records")

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._lot = trio.lowlevel.ParkingLot()

    @staticmethod
    def enabled() -> bool:
        """Would anything be written? Asked once, when a worker starts."""
        return logger.isEnabledFor(logging.INFO)

    def add(self, record: Record) -> None:
        """Remember a response. Never waits, but writes everything at once when too much is waiting."""
        self._records.append(record)
        if self._lot:
            self._lot.unpark()
        elif len(self._records) >= QUEUE:
            self.flush(QUEUE)

    def flush(self, count: int) -> None:
        """Write the oldest `count` records."""
        batch, self._records[:count] = self._records[:count], []
        for record in batch:
            logger.info("%s", record)

    async def serve(self) -> None:
        """Write records until cancelled, and what is left then."""
        try:
            while True:
                if not self._records:
                    await self._lot.park()
                await trio.lowlevel.checkpoint()
                self.flush(BATCH)
        finally:
            self.flush(len(self._records))


def peer_name(peer: Peer) -> str:
    """The client as a log shows it; clients of unix sockets have no name."""
    return "unix" if peer.client is None else f"{peer.client[0]}:{peer.client[1]}"


def escape(text: bytes) -> str:
    """Client-controlled bytes as printable ASCII, quotes and backslashes escaped too."""
    if text.isascii():
        plain = text.decode("ascii")
        if plain.isprintable() and '"' not in plain and "\\" not in plain:
            return plain
    return "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in text)
