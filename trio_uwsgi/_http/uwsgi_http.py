"""Clients' requests as front servers pass them on in packets of CGI vars, and the responses to them. Pure.

nginx, Apache and uWSGI's own router speak HTTP with clients and send us what they made of it: the path is decoded, and
headers are vars. What they want back is HTTP, without what belongs to the connection of somebody else. Packets are
taken apart in `uwsgi_requests.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from trio_uwsgi._http.request import Headers, Request, split_host
from trio_uwsgi._http.response import Response
from trio_uwsgi._protocol.packet import RPC, encode_vars
from trio_uwsgi._protocol.remote_calls import RpcCall

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer

__all__ = ["HTTP_STYLE", "RpcRequest", "UwsgiRequest", "UwsgiResponse", "without_script_name"]

HTTP_STYLE = 2  # modifier2 of RPC that is asked and answered as over HTTP

_VERSIONS = {
    **{b"HTTP/1.%d" % minor: "1.1" for minor in range(1, 10)},
    b"HTTP/2.0": "2",
    b"HTTP/2": "2",
    b"HTTP/3.0": "3",
    b"HTTP/3": "3",
}
# The front server may pass on what the client says, so nothing else becomes a scheme.
_SCHEMES = {b"http": "http", b"https": "https"}
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/]*(.*)", re.DOTALL)
# What a client may have sent, and nginx passes on, though it should have been percent-encoded.
_RAW = re.compile(rb"[^\x21-\x7e]")
# Names come from strangers, so the caches stop growing here.
_CACHED = 1024
# Var -> its header, b"" for the vars that are none. These two come as vars of their own, and as headers from some.
_header_names: dict[bytes, bytes] = {
    b"CONTENT_TYPE": b"content-type",
    b"CONTENT_LENGTH": b"content-length",
    b"HTTP_CONTENT_TYPE": b"",
    b"HTTP_CONTENT_LENGTH": b"",
}
_SENT_EMPTY = (b"CONTENT_TYPE", b"CONTENT_LENGTH")  # by nginx, when there is none
# Var -> key of the environ, "" for those that are left out; see `Request.wsgi_environ` about "Proxy".
_environ_names: dict[bytes, str] = {b"HTTP_PROXY": ""}
# One media type, without "*".
_MEDIA_TYPE = re.compile(rb"[!#$%&'+.^_`|~0-9A-Za-z-]+/[!#$%&'+.^_`|~0-9A-Za-z-]+")
# Keys with these beginnings are for the server to set.
_OURS = (b"wsgi.", b"uwsgi.", b"x-wsgiorg.")


def _header_name(var: bytes) -> bytes:
    name = var[5:].lower().replace(b"_", b"-") if var.startswith(b"HTTP_") else b""
    if len(_header_names) < _CACHED:
        _header_names[var] = name
    return name


def _root(name: bytes) -> bytes:
    """A SCRIPT_NAME as PEP 3333 has it: that of the root is empty, and any other begins with "/" and ends without."""
    name = name.rstrip(b"/")
    return name if not name or name.startswith(b"/") else b"/" + name


def _below(root: bytes, path: bytes) -> bytes:
    """The path without the segments of `root`; the path itself, if it is not below them."""
    return path[len(root) :] if (path + b"/").startswith(root + b"/") else path


def _rooted(path: bytes) -> bytes:
    """A PATH_INFO as PEP 3333 has it: empty, or with "/" before it. `OPTIONS *` asks about no path."""
    return path if not path or path.startswith(b"/") else b"" if path == b"*" else b"/" + path


def _path_of(uri: bytes) -> bytes:
    """The path of a REQUEST_URI without its query, in the form for proxies, too."""
    if uri.startswith(b"/"):
        return uri
    url = _URL.fullmatch(uri)
    return _rooted(uri) if url is None else url[1] or b"/"


def without_script_name(pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The vars of a packet with modifier 30, which asks the server to take SCRIPT_NAME off PATH_INFO."""
    root = _root(dict(pairs).get(b"SCRIPT_NAME", b""))
    return [(name, _below(root, value) if name == b"PATH_INFO" else value) for name, value in pairs]


def _environ_name(var: bytes) -> str:
    key = "" if var.startswith(_OURS) else var.decode("latin-1")
    if len(_environ_names) < _CACHED:
        _environ_names[var] = key
    return key


class UwsgiRequest(Request):
    """A client's request as a front server passes it on.

    `path`, `query` and `headers` are made of the vars when they are asked for, which is once, by ASGI applications.
    Path and query are what the front server may have rewritten; `target` and `raw_path` are what the client sent.

    Args:
        pairs: its vars. Where one is repeated, the last one counts.
    """

    __slots__ = ("pairs", "vars")

    modifier2: int = 0

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        # Request.__init__ is left out: it would make the path of the target, and needs the headers.
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
        self.expect_continue = False  # the front server has taken care of it
        self.upgrade = b""
        self.chunks = []
        self.buffered = 0
        self.complete = True

    def _script_name(self) -> bytes:
        name = self.vars.get(b"SCRIPT_NAME")
        return _root(name) if name else b""

    def _path_info(self) -> bytes:
        path = self.vars.get(b"PATH_INFO")
        if path is not None:
            return _rooted(path)
        return _below(self._script_name(), unquote_to_bytes(self.raw_path)) if b"REQUEST_URI" in self.vars else b""

    @property
    def path(self) -> str:  # type: ignore[override]  # made of what never changes, so there is nothing to set
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
        """The body of the packet that this request came in."""
        return encode_vars(self.pairs)

    def _scheme(self, peer: Peer) -> str:
        get = self.vars.get
        if (told := get(b"UWSGI_SCHEME")) and (scheme := _SCHEMES.get(told.lower())):
            return scheme
        if (https := get(b"HTTPS")) and (https[:2].lower() == b"on" or https[:1] == b"1"):
            return "https"
        return _SCHEMES.get(get(b"REQUEST_SCHEME", b"").lower()) or peer.scheme

    def remote(self) -> tuple[bytes, bytes]:
        """Address and port of the client, as the front server tells them: any bytes."""
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

    def wsgi_environ(self, peer: Peer, base: Mapping[str, object]) -> dict[str, object]:
        """Make the environ of this request: a copy of `base`, and the vars, as they are.

        But SCRIPT_NAME and PATH_INFO, put together, are a path: "/" and "/app/" are "" and "/app" as a SCRIPT_NAME, and
        a PATH_INFO that is not there is cut out of REQUEST_URI. `wsgi.url_scheme` is "http" or "https".

        Texts are bytes read as latin-1 (PEP 3333). What PEP 3333 needs and the front server did not send is added;
        REMOTE_ADDR is not, because the client of the front server is not known then. HTTP_PROXY is left out (see
        `Request.wsgi_environ`), and so are vars whose names are the server's: `wsgi.` and the like.

        Args:
            peer: the facts of its connection.
            base: what all requests have in common. Not changed.
        Returns:
            A new dict that belongs to the caller.
        uWSGI: the same vars, as they came; it adds none, and takes any text for the scheme.
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

        Path and query are those that the front server may have rewritten; `raw_path` is what the client sent. The path
        begins with SCRIPT_NAME, which is `root_path` too. What is not percent-encoded in the query, and should be, is.

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
        }


def _quoted(raw: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(raw[0])


def _port(text: bytes) -> int:
    """A port, 0 for what is none."""
    return int(text) if text.isdigit() and len(text) <= 5 else 0


class RpcRequest(UwsgiRequest):
    """An RPC call that is asked and answered as over HTTP: modifier1 173, modifier2 2. nginx can send it."""

    __slots__ = ()

    modifier1 = RPC
    modifier2 = HTTP_STYLE

    def call(self) -> RpcCall | None:
        """The call: the parts of PATH_INFO are its name and its arguments. None: there are none, which answers 500."""
        parts = [part for part in self.vars.get(b"PATH_INFO", b"").split(b"/") if part]
        return RpcCall(name=parts[0], args=tuple(parts[1:]), style=HTTP_STYLE) if parts else None

    def content_type(self) -> bytes:
        """The Content-Type to answer with: what the client accepts, if that is one type, otherwise bytes.

        uWSGI: sends the client's Accept back, whatever is in it.
        """
        accept = self.vars.get(b"HTTP_ACCEPT", b"")
        return accept if _MEDIA_TYPE.fullmatch(accept) else b"application/binary"


class UwsgiResponse(Response):
    """The response to a front server: status and headers are the application's alone, and its end is the connection's.

    uWSGI: the same, but for HTTP/2 and later, which uWSGI repeats in the status line, where no client expects it.
    """

    __slots__ = ()

    def _first(self, piece: bytes, more: bool, date: bytes) -> bytes:
        head = self._head
        return b"HTTP/1.0%b\r\n" % head[8:] if self._one_zero else head + b"\r\n"
