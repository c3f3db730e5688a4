"""The prefix of the path under which clients reach the application, behind a proxy that forwards only this prefix.

A proxy removes the prefix from the path, or leaves it there. It may name the prefix: as SCRIPT_NAME over the uwsgi
protocol, as X-Forwarded-Prefix over HTTP. Applications get the same in each case: WSGI the prefix as SCRIPT_NAME and
the rest as PATH_INFO, ASGI the prefix as `root_path` and the whole as `path`.

What a request says is in its environ or scope already, as `_http/uwsgi_http.py` and `_http/origin.py` make them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from trio_uwsgi._apps.asgi_exchange import AsgiApp, Message, Receive, Send
    from trio_uwsgi._apps.wsgi_exchange import WsgiApp

__all__ = ["is_below", "rooted_asgi", "rooted_wsgi"]


def is_below(prefix: str, path: str) -> bool:
    """Does a path begin with the segments of a prefix?"""
    return path == prefix or path.startswith(prefix + "/")


def rooted_wsgi(app: WsgiApp, prefix: str, kept: bool) -> WsgiApp:
    """A WSGI application behind a prefix; the application itself if there is nothing to do.

    Args:
        app: the application.
        prefix: of requests that do not name one; "" for none.
        kept: the proxy leaves the prefix in the path. A path without it is taken as it is.
    """
    root = prefix.encode().decode("latin-1")  # PEP 3333 has the bytes of a path as latin-1

    def rooted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        script_name = environ["SCRIPT_NAME"] or root
        environ["SCRIPT_NAME"] = script_name
        if kept and is_below(script_name, environ["PATH_INFO"]):
            environ["PATH_INFO"] = environ["PATH_INFO"][len(script_name) :]
        return app(environ, start_response)

    return rooted if prefix or kept else app


def rooted_asgi(app: AsgiApp, prefix: str, kept: bool) -> AsgiApp:
    """As `rooted_wsgi`, for an ASGI application."""

    def rooted(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        if root := scope["root_path"]:
            rest = scope["path"].removeprefix(root)
        else:
            root, rest = prefix, scope["path"]
        path = rest if kept and is_below(root, rest) else root + rest
        scope["root_path"], scope["path"] = root, path
        scope["raw_path"] = _raw(scope["raw_path"], path, quote(root).encode())
        return app(scope, receive, send)

    return rooted if prefix or kept else app


def _raw(raw: bytes, path: str, root: bytes) -> bytes:
    """The encoded form of `path`: `raw` with or without `root`. Over the uwsgi protocol it is what the client sent."""
    for candidate in (raw, root + raw, raw.removeprefix(root)):
        if unquote_to_bytes(candidate).decode("utf-8", "replace") == path:
            return candidate
    return raw
