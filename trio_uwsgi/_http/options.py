"""What a user may set about HTTP. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._http.limits import Limits
    from trio_uwsgi.config.connections import HttpTimeouts, WebSocketOptions
    from trio_uwsgi.config.static import StaticOptions

__all__ = ["HttpOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What a user may set about HTTP. `cancel_on_disconnect` cancels requests whose client disconnected.

    `static` has the files that are served without the application, None where there are none. `forwarded_allow` are the
    sources of proxies whose `forwarded_headers` are believed; `proxy_protocol` those of load balancers that speak this
    protocol.
    """

    limits: Limits
    timeouts: HttpTimeouts
    websocket: WebSocketOptions
    access_log: bool = True
    cancel_on_disconnect: bool = False
    static: StaticOptions | None = None
    forwarded_allow: tuple[str, ...] = ()
    forwarded_headers: tuple[str, ...] = ()
    proxy_protocol: tuple[str, ...] = ()
