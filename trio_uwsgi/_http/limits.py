"""What one request may take, and how much one connection buffers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["HIGH_WATER", "RECEIVE", "RECEIVE_BODY", "RECEIVE_CHUNKS", "WHOLE_BODIES", "WHOLE_BODY", "Limits"]

# A sender waits while more than this many bytes of its output are in our memory, and a client is not read while the
# application has more than this many bytes of its body unread. So a connection buffers at most this, and one read or
# one piece of the application; and of a body what a WSGI application waits for (`WsgiExchange.next_body`).
HIGH_WATER: Final = 65536

# A WSGI application is called when the whole body has arrived, if that has a length of at most so many bytes, and those
# of one worker together have no more than these: a slow upload then keeps no thread, and a fast one costs no switches
# between threads.
WHOLE_BODY: Final = 1 << 20
WHOLE_BODIES: Final = 32 << 20

# Bytes that one read takes from a connection. Python allocates them all before it reads, so for a head few are cheaper.
# But each read is a turn of Trio's, so while a body is on its way more are taken: what it has, or for chunks some.
RECEIVE: Final = 16384
RECEIVE_BODY: Final = 262144
RECEIVE_CHUNKS: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take.

    Args:
        max_header_size: bytes of the whole head, request line and empty line included; also of trailers.
        max_headers: number of header lines.
        max_body: bytes of body; 0 means no limit.
    """

    max_header_size: int
    max_headers: int
    max_body: int
