"""The groups of options that sockets and connections need. Pure."""

from __future__ import annotations

import dataclasses

__all__ = ["HttpLimits", "HttpTimeouts", "LoadLimits", "SocketOptions", "StreamEnds", "WebSocketOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of a request's size, see the fields of `Config` with these names."""

    max_header_size: int
    max_headers: int
    max_body: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpTimeouts:
    """Timeouts for clients, in seconds: a request head, an idle connection, a body without progress."""

    header: float
    keep_alive: float
    socket: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """WebSockets: seconds between pings and for their answers (0: none), bytes of a message (0: no limit), and whether
    messages are compressed where the client offers it.
    """

    ping_interval: float
    ping_timeout: float
    max_message: int
    deflate: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """What one worker takes on: connections at a time, and requests that run or wait at a time; 0: no limit."""

    connections: int = 0
    requests: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnds:
    """Seconds from the beginning of a stop or a reload until what streams is told to end; and seconds that an idle
    client of a worker that is replaced has for one more request.
    """

    websockets: float = 0
    responses: float = 15
    idle: float = 2

    @classmethod
    def within(cls, mercy: float, given: float | None) -> StreamEnds:
        """Those of `Config.mercy` and `Config.stop_streams`."""
        return cls(websockets=given or 0, responses=mercy / 2 if given is None else given, idle=min(2, mercy / 4))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """How to listen: `backlog` in connections, `mode` of unix socket files (None leaves it to the umask)."""

    backlog: int
    mode: int | None
