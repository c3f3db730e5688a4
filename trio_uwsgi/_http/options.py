"""What a user may set about HTTP. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trio_uwsgi.config.connections import LoadLimits, StreamEnds

if TYPE_CHECKING:
    from trio_uwsgi._http.limits import Limits
    from trio_uwsgi.config.connections import HttpTimeouts, WebSocketOptions

__all__ = ["HttpOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What a user may set about HTTP. `cancel_on_disconnect` cancels requests whose client disconnected.

    `early_hints` offers them to the application.
    """

    limits: Limits
    timeouts: HttpTimeouts
    websocket: WebSocketOptions
    load: LoadLimits = dataclasses.field(default_factory=LoadLimits)
    stream_ends: StreamEnds = dataclasses.field(default_factory=StreamEnds)
    access_log: bool = True
    cancel_on_disconnect: bool = False
    early_hints: bool = False
