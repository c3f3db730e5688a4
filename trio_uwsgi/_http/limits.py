"""What one request may take, and how much one connection buffers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HIGH_WATER", "Limits"]

# A sender waits while more than this many bytes of its output are in our memory, and a client is not read while the
# application has more than this many bytes of its body unread. So a connection buffers at most this, and one read or
# one piece of the application.
HIGH_WATER = 65536


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
