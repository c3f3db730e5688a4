"""What a user may set about HTTP. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trio_uwsgi.config.connections import LoadLimits, StreamEnds

if TYPE_CHECKING:
    from trio_uwsgi._http.limits import Limits
    from trio_uwsgi.config.connections import HttpTimeouts, WebSocketOptions
    from trio_uwsgi.config.log_format import Variable
    from trio_uwsgi.config.static import StaticOptions

__all__ = ["HttpOptions"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What a user may set about HTTP. `cancel_on_disconnect` cancels requests whose client disconnected.

    `log_format` is that of the access log, empty for the usual one.
    `static` has the files that are served without the application, None where there are none. `forwarded_allow` are the
    sources of proxies whose `forwarded_headers` are believed; `proxy_protocol` those of load balancers that speak this
    protocol. `early_hints` offers them to the application. `catch_exceptions` shows failures to clients. `root_path` is
    the prefix of its path for clients; `manage_script_name`: the path of a request still has it. `show_requests`: the
    master is to see what runs.
    """

    limits: Limits
    timeouts: HttpTimeouts
    websocket: WebSocketOptions
    load: LoadLimits = dataclasses.field(default_factory=LoadLimits)
    stream_ends: StreamEnds = dataclasses.field(default_factory=StreamEnds)
    access_log: bool = True
    log_format: tuple[str | Variable, ...] = ()
    cancel_on_disconnect: bool = False
    static: StaticOptions | None = None
    forwarded_allow: tuple[str, ...] = ()
    forwarded_headers: tuple[str, ...] = ()
    proxy_protocol: tuple[str, ...] = ()
    early_hints: bool = False
    catch_exceptions: bool = False
    root_path: str = ""
    manage_script_name: bool = False
    show_requests: bool = False
