"""Clients' requests as front servers pass them on in packets of CGI vars, and the responses to them. Pure.

nginx, Apache and uWSGI's own router speak HTTP with clients and forward requests as vars, with the path decoded. They
expect an HTTP response without anything about the connection, which is theirs. `uwsgi_requests.py` reads packets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.request import FILES, Headers, Request, split_host
from trio_uwsgi._http.response import Response
from trio_uwsgi._protocol.packet import RPC, encode_vars
from trio_uwsgi._protocol.remote_calls import RpcCall

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer

__all__ = ["HTTP_STYLE", "RpcRequest", "UwsgiRequest", "UwsgiResponse", "without_script_name"]

HTTP_STYLE = 2  # modifier2 of an RPC call that has the form of an HTTP request and response

_VERSIONS = {
    **{b"HTTP/1.%d" % minor: "1.1" for minor in range(1, 10)},
    b"HTTP/2.0": "2",
    b"HTTP/2": "2",
    b"HTTP/3.0": "3",
    b"HTTP/3": "3",
}
# The front server may forward what the client sends, so no other value becomes a scheme.
_SCHEMES = {b"http": "http", b"https": "https"}
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/]*(.*)", re.DOTALL)
# Bytes that should have been percent-encoded; nginx forwards them if a client sends them.
_RAW = re.compile(rb"[^\x21-\x7e]")
# Clients choose names, so the caches are bounded.
_CACHED = 1024
# Var -> its header, b"" for vars that are not headers. These two are vars without HTTP_; some servers send both forms.
_header_names: dict[bytes, bytes] = {
    b"CONTENT_TYPE": b"content-type",
    b"CONTENT_LENGTH": b"content-length",
    b"HTTP_CONTENT_TYPE": b"",
    b"HTTP_CONTENT_LENGTH": b"",
}
_SENT_EMPTY = (b"CONTENT_TYPE", b"CONTENT_LENGTH")  # by nginx, if the client sent none
# Var -> key of the environ, "" for those that are left out; see `Request.wsgi_environ` about "Proxy".
_environ_names: dict[bytes, str] = {b"HTTP_PROXY": ""}
# One media type, without "*".
_MEDIA_TYPE = re.compile(rb"[!#$%&'+.^_`|~0-9A-Za-z-]+/[!#$%&'+.^_`|~0-9A-Za-z-]+")
# Only the server may set keys with these prefixes.
_OURS = (b"wsgi.", b"uwsgi.", b"x-wsgiorg.")


def _header_name(var: bytes) -> bytes:
    name = var[5:].lower().replace(b"_", b"-") if var.startswith(b"HTTP_") else b""
    if len(_header_names) < _CACHED:
        _header_names[var] = name
    return name


def _root(name: bytes) -> bytes:
    """A SCRIPT_NAME as in PEP 3333: "" for the root; any other begins with "/" and does not end with it."""
    name = name.rstrip(b"/")
    return name if not name or name.startswith(b"/") else b"/" + name


def _below(root: bytes, path: bytes) -> bytes:
    """The path without the segments of `root`; the path itself, if it is not below them."""
    return path[len(root) :] if (path + b"/").startswith(root + b"/") else path


def _rooted(path: bytes) -> bytes:
    """A PATH_INFO as in PEP 3333: empty, or with a leading "/". `OPTIONS *` has no path."""
    return path if not path or path.startswith(b"/") else b"" if path == b"*" else b"/" + path


def _path_of(uri: bytes) -> bytes:
    """The path of a REQUEST_URI without its query; it may have the form for proxies."""
    if uri.startswith(b"/"):
        return uri
    url = _URL.fullmatch(uri)
    return _rooted(uri) if url is None else url[1] or b"/"


def without_script_name(pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The vars of a packet with modifier 30, which asks the server to remove SCRIPT_NAME from PATH_INFO."""
    root = _root(dict(pairs).get(b"SCRIPT_NAME", b""))
    return [(name, _below(root, value) if name == b"PATH_INFO" else value) for name, value in pairs]


def _environ_name(var: bytes) -> str:
    key = "" if var.startswith(_OURS) else var.decode("latin-1")
    if len(_environ_names) < _CACHED:
        _environ_names[var] = key
    return key


class UwsgiRequest(Request):
    """A client's request as a front server forwards it.

    `path`, `query` and `headers` are made of the vars on access, which happens once, for ASGI applications. The front
    server may have rewritten path and query; `target` and `raw_path` are what the client sent.

    Args:
        pairs: its vars. If one is repeated, the last one counts.
    """

    __slots__ = ("pairs", "vars")

    modifier2: int = 0

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        # Request.__init__ is not called: it would compute the path from the target, and needs the headers.
        self.pairs = pairs
        self.vars = found = dict(pairs)
        target = found.get(b"REQUEST_URI")
        if target:
            self.raw_path = _path_of(target.partition(b"?")[0])
        else:
            self.raw_path = target = quote(self._script_name() + self._path_info()).encode() or b"/"
            if query := found.get(b"QUERY_STRING"):
                target += b"?" + query
        self.target = target
        self.method = found.get(b"REQUEST_METHOD", b"").decode("latin-1") or "GET"
        self.http_version = _VERSIONS.get(found.get(b"SERVER_PROTOCOL", b""), "1.0")
        self.keep_alive = False  # the end of the connection is the end of the response
        self.content_length = None
        self.chunked = False
        self.expect_continue = False  # the front server has handled it
        self.upgrade = b""
        self.modifier1 = 0
        self.origin = None
        self.log_notes = None
        self.chunks = []
        self.buffered = 0
        self.high_water = HIGH_WATER
        self.complete = True

    def _script_name(self) -> bytes:
        name = self.vars.get(b"SCRIPT_NAME")
        return _root(name) if name else b""

    def _path_info(self) -> bytes:
        path = self.vars.get(b"PATH_INFO")
        if path is not None:
            return _rooted(path)
        return _below(self._script_name(), unquote_to_bytes(self.raw_path)) if b"REQUEST_URI" in self.vars else b""

    def path_bytes(self) -> bytes:
        """The path, decoded, as bytes."""
        return self._script_name() + self._path_info()

    @property
    def path(self) -> str:  # type: ignore[override]  # computed of values that never change, so there is nothing to set
        return (self._script_name() + self._path_info()).decode("utf-8", "replace")

    @property
    def query(self) -> bytes:  # type: ignore[override]  # as above
        query = self.vars.get(b"QUERY_STRING")
        return self.target.partition(b"?")[2] if query is None else query

    @property
    def headers(self) -> Headers:  # type: ignore[override]  # as above
        headers: Headers = []
        names = _header_names
        for var, value in self.pairs:  # nginx repeated headers before 1.23
            name = names.get(var)
            if name is None:
                name = _header_name(var)
            if name and (value or var not in _SENT_EMPTY):
                headers.append((name, value))
        return headers

    def encode(self) -> bytes:
        """The body of the packet of this request."""
        return encode_vars(self.pairs)

    def _scheme(self, peer: Peer) -> str:
        get = self.vars.get
        if (value := get(b"UWSGI_SCHEME")) and (scheme := _SCHEMES.get(value.lower())):
            return scheme
        if (https := get(b"HTTPS")) and (https[:2].lower() == b"on" or https[:1] == b"1"):
            return "https"
        return _SCHEMES.get(get(b"REQUEST_SCHEME", b"").lower()) or peer.scheme

    def remote(self) -> tuple[bytes, bytes]:
        """Address and port of the client, as the front server sends them: any bytes."""
        return self.vars.get(b"REMOTE_ADDR", b""), self.vars.get(b"REMOTE_PORT", b"")

    def _server(self, scheme: str) -> tuple[str, str]:
        """SERVER_NAME and SERVER_PORT, never empty: PEP 3333 lets applications build URLs of them."""
        get = self.vars.get
        name, port = get(b"SERVER_NAME", b"").decode("latin-1"), get(b"SERVER_PORT", b"").decode("latin-1")
        if not (name and port):
            asked_name, asked_port = split_host(get(b"HTTP_HOST", b"")) or ("", "")
            name = name or asked_name or "localhost"
            port = port or asked_port or ("443" if scheme == "https" else "80")
        return name, port

    def wsgi_environ(self, peer: Peer, base: dict[str, object]) -> dict[str, object]:
        """Make the environ of this request: a copy of `base`, and the vars, as they are.

        But SCRIPT_NAME and PATH_INFO together are a path: SCRIPT_NAME is "" for "/" and "/app" for "/app/", and a
        missing PATH_INFO is computed from REQUEST_URI. `wsgi.url_scheme` is "http" or "https".

        Texts are bytes read as latin-1 (PEP 3333). Keys that PEP 3333 requires and the front server did not send are
        added; REMOTE_ADDR is not, because then the client of the front server is unknown. HTTP_PROXY is left out (see
        `Request.wsgi_environ`), and so are vars whose names only the server may set: `wsgi.` and the like.

        Args:
            peer: the facts of its connection.
            base: what all requests have in common. Not changed.
        Returns:
            A new dict that belongs to the caller.
        uWSGI: the same vars, unchanged; it adds none, and accepts any text as scheme.
        """
        environ: dict[str, object] = {"SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.0", **base}
        names = _environ_names
        for var, value in self.vars.items():
            key = names.get(var)
            if key is None:
                key = _environ_name(var)
            if key:
                environ[key] = value.decode("latin-1")
        environ["REQUEST_METHOD"] = self.method
        if environ["SCRIPT_NAME"]:
            environ["SCRIPT_NAME"] = self._script_name().decode("latin-1")
        environ["PATH_INFO"] = self._path_info().decode("latin-1")
        if "QUERY_STRING" not in environ:
            environ["QUERY_STRING"] = self.query.decode("latin-1")
        scheme = self._scheme(peer)
        environ["wsgi.url_scheme"] = scheme
        if not (environ.get("SERVER_NAME") and environ.get("SERVER_PORT")):
            environ["SERVER_NAME"], environ["SERVER_PORT"] = self._server(scheme)
        return environ

    def asgi_scope(self, peer: Peer, state: dict[str, object]) -> dict[str, object]:
        """Make the ASGI 3 scope (spec 2.4) of this request.

        The front server may have rewritten path and query; `raw_path` is what the client sent. The path begins with
        SCRIPT_NAME, which is also `root_path`. Bytes of the query that should be percent-encoded become so.

        Args:
            peer: the facts of its connection.
            state: what the lifespan startup left; the scope gets a shallow copy.
        Returns:
            A new dict that belongs to the caller.
        """
        get = self.vars.get
        scheme = self._scheme(peer)
        name, port = self._server(scheme)
        root = self._script_name()
        client = get(b"REMOTE_ADDR")
        client_port = get(b"REMOTE_PORT", b"")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self.http_version,
            "method": self.method,
            "scheme": scheme,
            "path": (root + self._path_info()).decode("utf-8", "replace"),
            "raw_path": self.raw_path,
            "query_string": _RAW.sub(_quoted, self.query),
            "root_path": root.decode("utf-8", "replace"),
            "headers": self.headers,
            "client": (client.decode("latin-1"), _port(client_port)) if client else None,
            "server": (name, _port(port.encode("latin-1"))),
            "state": state.copy(),
            "extensions": FILES.copy(),
        }


def _quoted(raw: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(raw[0])


def _port(text: bytes) -> int:
    """A port; 0 if the text is not one."""
    return int(text) if text.isdigit() and len(text) <= 5 else 0


class RpcRequest(UwsgiRequest):
    """An RPC call in the form of an HTTP request and response: modifier1 173, modifier2 2. nginx can send it."""

    __slots__ = ()

    modifier2 = HTTP_STYLE

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(pairs)
        self.modifier1 = RPC

    def call(self) -> RpcCall | None:
        """The call: the parts of PATH_INFO are its name and its arguments. None: the path is empty, which is a 500."""
        parts = [part for part in self.vars.get(b"PATH_INFO", b"").split(b"/") if part]
        return RpcCall(name=parts[0], args=tuple(parts[1:]), style=HTTP_STYLE) if parts else None

    def content_type(self) -> bytes:
        """The Content-Type of the response: the type that the client accepts, if that is a single one, otherwise bytes.

        uWSGI: sends the client's Accept back unchanged.
        """
        accept = self.vars.get(b"HTTP_ACCEPT", b"")
        return accept if _MEDIA_TYPE.fullmatch(accept) else b"application/binary"


class UwsgiResponse(Response):
    """The response to a front server: status and headers are the application's alone; the connection's end is its end.

    uWSGI: the same, except that it repeats HTTP/2 and later in the status line, where no client expects it.
    """

    __slots__ = ()

    def announce_trailers(self, names: Sequence[bytes]) -> None:
        """Nothing is chunked here, so there are no trailers."""

    def _first(self, size: int, more: bool, date: bytes) -> list[bytes]:
        head = self._head
        return [b"HTTP/1.0", head[8:], b"\r\n"] if self._one_zero else [head, b"\r\n"]
