"""Where a request comes from, as a trusted proxy says, and what follows for the application. Pure.

`forwarded.py` reads it from headers.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from trio_uwsgi._http.request import split_host

__all__ = ["Origin"]

_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Origin(NamedTuple):
    """What is known of a request's client. None and "" stand for what was not said.

    `client` is the address and port (0: not known) of the client. It is also None if a proxy hides it; `client_known`
    tells that from nothing said at all. `scheme` is "http" or "https". `host` and `port` are those that the client
    wrote, `prefix` is the part of the path that a proxy has removed.
    """

    client: tuple[str, int] | None = None
    client_known: bool = False
    scheme: str = ""
    host: str = ""
    port: str = ""
    prefix: str = ""

    def remote(self) -> tuple[bytes, bytes]:
        """Address and port of the client for the log; empty if they are not known."""
        if self.client is None:
            return b"", b""
        address, port = self.client
        return address.encode(), str(port).encode() if port else b""

    def put_into_environ(self, environ: dict[str, Any]) -> None:
        """Correct a WSGI environ."""
        if self.client_known:
            address, port = self.client or ("", 0)
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = address, str(port) if port else ""
        if self.scheme:
            environ["wsgi.url_scheme"] = self.scheme
            environ.pop("HTTPS", None)
            if self.scheme == "https":
                environ["HTTPS"] = "on"
        server = self._server(environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"])
        if server is not None:
            environ["HTTP_HOST"], environ["SERVER_NAME"], environ["SERVER_PORT"] = server
        if self.prefix:
            environ["SCRIPT_NAME"] = self.prefix + environ["SCRIPT_NAME"]

    def put_into_scope(self, scope: dict[str, Any]) -> None:
        """Correct an ASGI scope. Its path begins with `root_path`, as ASGI has it."""
        if self.client_known:
            scope["client"] = self.client
        if self.scheme:
            scope["scheme"] = self.scheme
        given = next((value for name, value in scope["headers"] if name == b"host"), b"")
        server = self._server(given.decode("latin-1"), scope["scheme"])
        if server is not None:
            host, name, port = server
            scope["server"] = name, int(port)
            others = [header for header in scope["headers"] if header[0] != b"host"]
            scope["headers"] = [(b"host", host.encode("latin-1")), *others]
        if self.prefix:
            scope["root_path"] = self.prefix + scope["root_path"]
            scope["path"] = self.prefix + scope["path"]
            scope["raw_path"] = quote(self.prefix).encode() + scope["raw_path"]

    def _server(self, given: str, scheme: str) -> tuple[str, str, str] | None:
        """The Host header, its name and its port; None if nothing was said about them."""
        if not (self.host or self.port or self.scheme):
            return None
        default = _DEFAULT_PORTS[scheme]
        name, port = split_host((self.host or given).encode("latin-1")) or ("", "")
        if len(port) > 5:  # a Host may have any number of digits
            port = ""
        if self.port:
            port = self.port
            host = name if port == default else f"{name}:{port}"
        else:
            host = self.host or given
        return host, name or "localhost", port or default
