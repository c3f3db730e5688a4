"""Sends a part of a file as the body of a response, or as a piece of it: for static files and for applications.

On a socket of the reactor the bytes go from the page cache to the socket (`os.sendfile`); on any other stream they are
read and sent, piece by piece. Neither collects the file in memory. Who waits is the caller: a task, or the thread of a
WSGI application through Trio.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.open_file import OpenFile

__all__ = ["send_file"]


async def send_file(exchange: Exchange, file: OpenFile, offset: int, count: int, more: bool) -> None:
    """Send `count` bytes of a file; without `more` they end the response, which has no other length then.

    Returns when the connection has taken the bytes; without `more`, when it has sent them.

    Raises:
        ClientDisconnected: the client is gone, or the file was truncated meanwhile.
        LocalProtocolError: the bytes do not fit what the head promised.
        OSError: the file cannot be read.

    Checkpoint: always.
    Cancellation: a part of the bytes was sent, so the response cannot be completed.
    """
    session = exchange.session
    after = _begin(exchange, count, more)
    if after is not None:
        for start, size in _parts(offset, count, session.file_part):
            await file.load(start, size)
            if not exchange.over:
                session.write_file(file, start, size)
            await exchange.wait_for_space()
        while not more and session.pending and not exchange.over:
            await session.wait_for_space()
        _end(exchange, after, more)
    await exchange.wait_for_space()


def _begin(exchange: Exchange, count: int, more: bool) -> bytes | None:
    """Send what comes before the file's bytes: usually the head. Returns what comes after them.

    None: the response has no body, as it answers HEAD; nothing else is to be sent.

    Raises:
        ClientDisconnected, LocalProtocolError: as `send_file`.
    """
    if exchange.over:
        exchange.deliver(b"", False)  # raises the fitting error
    response = exchange.response
    if not more:
        response.set_length(count)
    head = exchange.encode(b"", True)
    before, after = response.surround(count, more)
    if response.bodyless:
        exchange.deliver(head, more)
        return None
    exchange.deliver(head + before, True)
    return after


def _parts(offset: int, count: int, size: int) -> Iterator[tuple[int, int]]:
    """Offsets and sizes of the parts that are given to the connection, one after the other."""
    end = offset + count
    while offset < end:
        part = min(size, end - offset)
        yield offset, part
        offset += part


def _end(exchange: Exchange, after: bytes, more: bool) -> None:
    """Send what comes after the file's bytes.

    Raises:
        ClientDisconnected: the client is gone.
    """
    if exchange.lost or after or not more:
        exchange.deliver(after, more)
