"""One HTTP request as values, and as what WSGI and ASGI applications get. Pure.

`http1.py` makes a `Request` of bytes, `uwsgi_requests.py` its subclasses; the drivers in `_apps/` have it make an
environ or a scope. That happens once per request, so names are looked up in bounded caches and no function is called
per header.
Not here: limits, framing, and anything that reads a body from somewhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from mypy_extensions import mypyc_attr

from trio_uwsgi._http.limits import HIGH_WATER

if TYPE_CHECKING:
    from trio_uwsgi._http.access_record import LogNotes
    from trio_uwsgi._http.origin import Origin
    from trio_uwsgi._http.peer import Peer

__all__ = ["Headers", "Request", "split_host"]

Headers = list[tuple[bytes, bytes]]
"""Names lower-cased, in the order of arrival."""

# Clients choose names and hosts, so the caches are bounded. Real traffic uses a few dozen of each.
_CACHED: Final = 1024

# What an ASGI application may send besides a start and a body: in any response, and in one that may be chunked.
FILES: Final[dict[str, object]] = {"http.response.pathsend": {}, "http.response.zerocopysend": {}}
FILES_AND_TRAILERS: Final[dict[str, object]] = {**FILES, "http.response.trailers": {}}

# What every scope has. Copying it takes a third of the time of making it anew.
_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_SCOPE: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": _ASGI,
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [],
    "client": None,
    "server": None,
    "state": {},
    "extensions": {},
}

# As numbers, because looking for a number in bytes takes a tenth of the time.
_PERCENT: Final = ord("%")
_QUESTION: Final = ord("?")
_UNDERSCORE: Final = ord("_")

# RFC 3986's host: a reg-name, an IPv4 address, or a bracketed IPv6 or future one; and a port, of any number of digits.
# A user part ("user@") has no place in a Host header.
_HOST: Final = re.compile(
    rb"(\[(?:[0-9A-Fa-f:.]+|[Vv][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::([0-9]*))?"
)


@mypyc_attr(allow_interpreted_subclasses=True)
class Request:
    """One request: its head, and the part of its body that has arrived and was not taken yet.

    The head never changes once the parser has returned the request. The body part (`chunks`, `buffered`, `complete`) is
    written by the parser that made the request and emptied by `take_body`.

    Args:
        method: as sent; upper case for every method we know.
        target: path and query, as sent.
        http_version: "1.0" or "1.1".
        headers: names lower-cased, order kept, white space around values stripped.
    """

    __slots__ = (
        "buffered",  # bytes in `chunks`
        "chunked",
        "chunks",
        "complete",  # the whole body has arrived
        "content_length",  # None: no body, or chunked
        "expect_continue",  # the client waits for CONTINUE before it sends the body
        "headers",
        "high_water",  # bytes of the body that wait for the application before the client is not read any more
        "http_version",
        "keep_alive",  # the client allows another request on the connection
        "log_notes",  # what the application says of its line in the access log; None: nothing
        "method",
        "modifier1",  # of the uwsgi protocol: 0 is for the application, others for the driver of packets
        "origin",  # what a trusted proxy says of the client; None: there is none, or it says nothing
        "path",  # percent-decoded, as UTF-8; bytes that are not UTF-8 become U+FFFD
        "query",
        "raw_path",
        "target",  # the request-target as sent, in whatever form
        "upgrade",  # lower-cased value of an Upgrade header that Connection names, or b""
    )

    def __init__(self, method: str, target: bytes, http_version: str, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.http_version = http_version
        self.headers = headers
        raw_path = target
        self.query = b""
        if _QUESTION in target:
            raw_path, _, self.query = target.partition(b"?")
        self.raw_path = raw_path
        if _PERCENT in raw_path:
            self.path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        else:
            self.path = raw_path.decode("utf-8", "replace")
        self.keep_alive = http_version == "1.1"
        self.content_length: int | None = None
        self.chunked = False
        self.expect_continue = False
        self.upgrade = b""
        self.modifier1 = 0
        self.origin: Origin | None = None
        self.log_notes: LogNotes | None = None
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.high_water = HIGH_WATER
        self.complete = True

    def take_body(self) -> bytes:
        """Take everything buffered, joined; the buffer is empty afterwards."""
        chunks = self.chunks
        if not chunks:
            return b""
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.buffered = 0
        return body

    def take_piece(self) -> bytes:
        """Take the piece that has been buffered longest; `b""` if there is none."""
        if not self.chunks:
            return b""
        piece = self.chunks.pop(0)
        self.buffered -= len(piece)
        return piece

    def path_bytes(self) -> bytes:
        """The path, percent-decoded, as bytes."""
        return unquote_to_bytes(self.raw_path) if _PERCENT in self.raw_path else self.raw_path

    def remote(self) -> tuple[bytes, bytes]:
        """Address and port of the client, if the request has them because the connection is that of a front server."""
        return (b"", b"") if self.origin is None else self.origin.remote()

    def wsgi_environ(self, peer: Peer, base: dict[str, object]) -> dict[str, object]:
        """Make the environ of this request: a copy of `base`, and the CGI keys.

        Texts are bytes read as latin-1 (PEP 3333). PATH_INFO is the path percent-decoded; REQUEST_URI, RAW_URI the
        request target. Repeated headers are joined with a comma, cookies with a semicolon. Headers with "_" in their
        name are left out, and so is Proxy.

        Args:
            peer: the facts of its connection.
            base: what all requests have in common: the `wsgi.*` keys, SCRIPT_NAME. Not changed.
        Returns:
            A new dict that belongs to the caller.
        uWSGI: the keys of its HTTP socket; SERVER_NAME is the host of the request, where uWSGI has the machine's name.
        """
        raw_path = self.raw_path
        uri = self.target.decode("latin-1")
        environ = base.copy()
        environ.setdefault("SCRIPT_NAME", "")
        environ["REQUEST_METHOD"] = self.method
        environ["PATH_INFO"] = (unquote_to_bytes(raw_path) if _PERCENT in raw_path else raw_path).decode("latin-1")
        environ["QUERY_STRING"] = self.query.decode("latin-1")
        environ["REQUEST_URI"] = environ["RAW_URI"] = uri
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if self.http_version == "1.1" else "HTTP/1.0"
        environ["wsgi.url_scheme"] = peer.scheme
        if peer.client is not None:
            environ["REMOTE_ADDR"], port = peer.client
            environ["REMOTE_PORT"] = str(port)
        else:
            environ["REMOTE_ADDR"] = environ["REMOTE_PORT"] = ""
        if peer.scheme == "https":
            environ["HTTPS"] = "on"
            if peer.tls is not None:
                environ.update(peer.tls.environ)
        names = _environ_names
        for name, value in self.headers:
            key = names.get(name)
            if key is None:
                key = _environ_name(name)
            if key in environ:
                separator = "; " if key == "HTTP_COOKIE" else ","
                environ[key] = f"{environ[key]}{separator}{value.decode('latin-1')}"
            elif key:
                environ[key] = value.decode("latin-1")
        environ["SERVER_NAME"], environ["SERVER_PORT"] = _server(str(environ.get("HTTP_HOST", "")), peer)
        if self.origin is not None:
            self.origin.put_into_environ(environ)
        return environ

    def asgi_scope(self, peer: Peer, state: dict[str, object]) -> dict[str, object]:
        """Make the ASGI 3 scope (spec 2.4) of this request. It shares the list of headers.

        Args:
            peer: the facts of its connection.
            state: what the lifespan startup left; the scope gets a shallow copy.
        Returns:
            A new dict that belongs to the caller.
        """
        scope = _SCOPE.copy()
        scope["asgi"] = _ASGI.copy()
        scope["http_version"] = self.http_version
        scope["method"] = self.method
        scope["scheme"] = peer.scheme
        scope["path"] = self.path
        scope["raw_path"] = self.raw_path
        scope["query_string"] = self.query
        scope["headers"] = self.headers
        scope["client"] = peer.client
        scope["server"] = peer.server
        scope["state"] = state.copy()
        scope["extensions"] = (FILES_AND_TRAILERS if self.http_version == "1.1" else FILES).copy()
        if peer.tls is not None:
            scope["extensions"]["tls"] = dict(peer.tls.extension)
        if self.origin is not None:
            self.origin.put_into_scope(scope)
        return scope

    def __repr__(self) -> str:
        body = f"{self.buffered} bytes buffered, {'complete' if self.complete else 'incomplete'}"
        return f"<Request {self.method} {self.target!r} HTTP/{self.http_version}, {body}>"


_hosts: Final[dict[bytes, tuple[str, str]]] = {}


def split_host(value: bytes) -> tuple[str, str] | None:
    """Split the value of a Host header into name and port; either may be "". None: it is not a host.

    An IPv6 address keeps its brackets, as in a URL.
    """
    known = _hosts.get(value)
    if known is not None:
        return known
    match = _HOST.fullmatch(value)
    if match is None:
        return None
    name, port = match.groups()
    split = name.decode(), (port or b"").decode()
    if len(_hosts) < _CACHED:
        _hosts[value] = split
    return split


# Header name -> key of the environ; "" for headers that are left out. "Proxy" is one: HTTP_PROXY is where many HTTP
# clients look for the address of their proxy, so it would let a stranger redirect them ("httpoxy").
_environ_names: Final[dict[bytes, str]] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
    b"proxy": "",
}


def _environ_name(name: bytes) -> str:
    # "X_Real_IP" would become the same key as "X-Real-IP", which a proxy in front may have set: dropped, as nginx does.
    key = "" if _UNDERSCORE in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    if len(_environ_names) < _CACHED:
        _environ_names[name] = key
    return key


def _server(host: str, peer: Peer) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT, never empty: PEP 3333 lets applications build URLs of them.

    The port is the one that the request came in on (RFC 3875 4.1.15). A unix socket has none: there it is what the
    client asked for, or that of the scheme.
    """
    address, own_port = peer.server or ("", None)
    name, port = split_host(host.encode("latin-1")) or ("", "")
    if own_port is not None:
        return name or address, str(own_port)
    return name or "localhost", port or ("443" if peer.scheme == "https" else "80")
