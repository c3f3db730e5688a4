"""103 Early Hints (RFC 8297): headers that a client gets before the response, to load what the page will need.

They go to HTTP/1.1 clients only: one of HTTP/1.0 would take them for the response, and so would a front server that
speaks the uwsgi protocol. nginx before 1.29 does so over HTTP/1.1, too, so they are offered only where an option says
so. Hints that are not sent are checked all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trio_uwsgi._http.response import hints_response
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.exchange import Exchange

__all__ = ["encode_hints", "takes_hints", "write_hints"]


def takes_hints(exchange: Exchange) -> bool:
    """Does the client understand a response before the response, and may it get one?"""
    session = exchange.session
    return (
        session.service.options.early_hints
        and session.peer.protocol == "http"
        and exchange.request.http_version == "1.1"
    )


def encode_hints(exchange: Exchange, headers: Iterable[Sequence[bytes]]) -> bytes:
    """The hints as bytes for `write_hints`. May be called in the application's thread.

    Raises:
        LocalProtocolError: a header cannot be sent, or the response has begun.
    """
    if exchange.response.sent_head:
        raise LocalProtocolError("early hints come before the response, which has begun")
    return hints_response(headers)


def write_hints(exchange: Exchange, data: bytes) -> None:
    """Send the hints now, unless the response has begun meanwhile. Never waits."""
    if takes_hints(exchange) and not (exchange.over or exchange.head_sent):
        exchange.session.write(data)
