"""Requests as values, as environ and as scope."""

from __future__ import annotations

import io
import wsgiref.validate
from typing import TYPE_CHECKING, Any

import pytest

from trio_uwsgi._http import request as request_module
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.request import Request, split_host
from trio_uwsgi._http.tls_facts import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.pure

PEER = Peer(client=("192.0.2.1", 5555), server=("127.0.0.1", 8000), scheme="http")
UNIX = Peer(client=None, server=("/run/app.sock", None), scheme="http")


def parse(data: bytes) -> Request:
    """The one request of `data`."""
    parser = RequestParser(Limits(max_header_size=10_000, max_headers=100, max_body=0))
    (request,) = parser.feed(data)
    return request


def environ(data: bytes, peer: Peer = PEER, base: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The environ of the one request of `data`."""
    return parse(data).wsgi_environ(peer, dict(base or {}))


def test_environ_of_a_post() -> None:
    """The environ has the keys of CGI, those of the base, and the headers."""
    data = (
        b"POST /path/a%20b?x=1&y=2 HTTP/1.1\r\nHost: example.com:8080\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 2\r\nX-Test: 1\r\n\r\nhi"
    )
    base = {"wsgi.multithread": True}
    assert {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/path/a b",
        "QUERY_STRING": "x=1&y=2",
        "REQUEST_URI": "/path/a%20b?x=1&y=2",
        "RAW_URI": "/path/a%20b?x=1&y=2",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.com",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "5555",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "2",
        "HTTP_HOST": "example.com:8080",
        "HTTP_X_TEST": "1",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
    } == environ(data, base=base)
    assert {"wsgi.multithread": True} == base


def test_environ_passes_the_validator() -> None:
    """The reference checker of WSGI accepts the environ."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode("latin-1")]

    base = {
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    checked = wsgiref.validate.validator(app)
    body = checked(environ(b"GET /%C3%A9?q HTTP/1.0\r\n\r\n", UNIX, base), lambda *_: lambda _: None)
    assert [b"/\xc3\xa9"] == list(body)
    body.close()  # type: ignore[attr-defined]  # the checker's iterator insists on being closed
    body = checked(environ(b"OPTIONS * HTTP/1.0\r\n\r\n", UNIX, base), lambda *_: lambda _: None)
    assert [b""] == list(body)
    body.close()  # type: ignore[attr-defined]  # as above


def test_asterisk_has_no_path() -> None:
    """`OPTIONS *` asks about no path: PATH_INFO and path are empty, and the target is in REQUEST_URI."""
    request = parse(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
    environ = request.wsgi_environ(PEER, {})
    assert ("", "", "*", "*") == tuple(environ[key] for key in ("PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI"))
    scope = request.asgi_scope(PEER, {})
    assert ("", b"", b"") == (scope["path"], scope["raw_path"], scope["query_string"])


def test_a_request_over_http_names_no_other_client() -> None:
    """Only a front server's packet names the client; over HTTP it is the peer of the connection."""
    assert (b"", b"") == parse(b"GET / HTTP/1.0\r\n\r\n").remote()


def test_environ_path_is_bytes_as_latin_1() -> None:
    """PATH_INFO keeps every byte, also those that are not UTF-8, as PEP 3333 wants."""
    assert "/\xc3\xa9\xff/" == environ(b"GET /%c3%a9%FF%2F HTTP/1.0\r\n\r\n")["PATH_INFO"]


def test_environ_repeated_headers() -> None:
    """Repeated headers are joined with a comma, cookies with a semicolon."""
    result = environ(b"GET / HTTP/1.0\r\nA: 1\r\nCookie: a=b\r\na: 2\r\nCookie: c=d\r\nA: \xe9\r\n\r\n")
    assert ("1,2,\xe9", "a=b; c=d") == (result["HTTP_A"], result["HTTP_COOKIE"])


def test_environ_omits_ambiguous_headers() -> None:
    """Names with an underscore cannot pose as those with a hyphen, and Proxy never becomes HTTP_PROXY."""
    result = environ(
        b"GET / HTTP/1.0\r\nX_Real_IP: 6.6.6.6\r\nProxy: http://evil\r\nX-Real-IP: 1.1.1.1\r\nA_B: c\r\n\r\n"
    )
    assert {"HTTP_X_REAL_IP": "1.1.1.1"} == {key: value for key, value in result.items() if key.startswith("HTTP_")}
    assert "" not in result
    again = environ(b"GET / HTTP/1.0\r\nX_Real_IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n\r\n")
    assert [] == [key for key in again if key.startswith("HTTP_") or not key]


@pytest.mark.parametrize(
    ("peer", "host", "expected"),
    [
        (PEER, b"Host: a.b\r\n", ("a.b", "8000")),
        (PEER, b"Host: a.b:\r\n", ("a.b", "8000")),
        (PEER, b"Host: [::1]:81\r\n", ("[::1]", "8000")),
        (PEER, b"", ("127.0.0.1", "8000")),
        (PEER, b"Host:\r\n", ("127.0.0.1", "8000")),
        (PEER._replace(scheme="https"), b"Host: a.b\r\n", ("a.b", "8000")),
        (UNIX, b"", ("localhost", "80")),
        (UNIX, b"Host: :81\r\n", ("localhost", "81")),
        (UNIX, b"Host: a.b:81\r\n", ("a.b", "81")),
        (PEER._replace(server=None), b"Host: a.b:81\r\n", ("a.b", "81")),
        (PEER._replace(server=None, scheme="https"), b"", ("localhost", "443")),
    ],
)
def test_environ_server(peer: Peer, host: bytes, expected: tuple[str, str]) -> None:
    """SERVER_NAME is the host asked for, SERVER_PORT that of the socket where it has one; neither is ever empty."""
    result = environ(b"GET / HTTP/1.0\r\n" + host + b"\r\n", peer)
    assert expected == (result["SERVER_NAME"], result["SERVER_PORT"])


def test_environ_of_a_secure_request_on_a_unix_socket() -> None:
    """HTTPS is said in both ways; a unix socket has no remote address."""
    result = environ(b"GET / HTTP/1.0\r\n\r\n", UNIX._replace(scheme="https"))
    assert ("https", "on", "", "", "HTTP/1.0") == tuple(
        result[key] for key in ("wsgi.url_scheme", "HTTPS", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_PROTOCOL")
    )


def test_environ_script_name_of_the_base() -> None:
    """A base may say where the application is mounted."""
    assert "/app" == environ(b"GET / HTTP/1.0\r\n\r\n", base={"SCRIPT_NAME": "/app"})["SCRIPT_NAME"]


def test_scope() -> None:
    """The scope has every key of ASGI's http scope; the state is a copy."""
    state: dict[str, object] = {"pool": [1]}
    request = parse(b"GET /a%20%C3%A9%ff?x=%20 HTTP/1.1\r\nHost: h\r\nA_B: c\r\n\r\n")
    scope = request.asgi_scope(PEER, state)
    assert {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a \xe9\ufffd",
        "raw_path": b"/a%20%C3%A9%ff",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": [(b"host", b"h"), (b"a_b", b"c")],
        "client": ("192.0.2.1", 5555),
        "server": ("127.0.0.1", 8000),
        "state": state,
        "extensions": {"http.response.pathsend": {}, "http.response.zerocopysend": {}, "http.response.trailers": {}},
    } == scope
    assert scope["extensions"] is not request.asgi_scope(PEER, state)["extensions"]
    extensions: object = parse(b"GET / HTTP/1.0\r\n\r\n").asgi_scope(PEER, state)["extensions"]
    assert {"http.response.pathsend": {}, "http.response.zerocopysend": {}} == extensions
    assert scope["state"] is not state
    assert (None, ("/run/app.sock", None)) == (
        request.asgi_scope(UNIX, {})["client"],
        request.asgi_scope(UNIX, {})["server"],
    )


def test_split_host() -> None:
    """A Host header is a name or an address, and perhaps a port; anything else is not one."""
    assert ("example.com", "") == split_host(b"example.com")
    assert ("example.com", "") == split_host(b"example.com")
    assert ("[2001:db8::1]", "443") == split_host(b"[2001:db8::1]:443")
    assert ("", "") == split_host(b"")
    # RFC 3986 has ports of any number of digits, and addresses of versions to come.
    assert ("a", "000080") == split_host(b"a:000080")
    assert ("[v1.fe80:a]", "1") == split_host(b"[v1.fe80:a]:1")
    for bad in (b"a b", b"a/b", b"u@h", b"a:b", b"::1", b"a\\b", b"a,\xff", b"[x]", b"[v.a]", b"[v1]", b"a?", b"a#"):
        assert split_host(bad) is None


def test_caches_are_bounded() -> None:
    """Hosts and header names that clients invent do not grow the caches beyond their bound."""
    for n in range(1100):
        split_host(b"host%d" % n)
        environ(b"GET / HTTP/1.0\r\nX-Name-%d: 1\r\n\r\n" % n)
    assert (1024, 1024) == (len(request_module._hosts), len(request_module._environ_names))
    assert "1" == environ(b"GET / HTTP/1.0\r\nX-Late: 1\r\n\r\n")["HTTP_X_LATE"]


def test_repr() -> None:
    """A request says what it asks for and how much of its body has come."""
    request = parse(b"PUT /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc")
    assert "<Request PUT b'/a?b' HTTP/1.1, 3 bytes buffered, incomplete>" == repr(request)
    assert "<Request GET b'/' HTTP/1.0, 0 bytes buffered, complete>" == repr(parse(b"GET / HTTP/1.0\r\n\r\n"))


def test_pieces_are_taken_in_the_order_of_arrival() -> None:
    """Each as it came; the body that is left is what was not taken."""
    request = parse(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
    request.chunks, request.buffered = [b"ab", b"c", b"def"], 6
    assert (b"ab", 4) == (request.take_piece(), request.buffered)
    assert (b"cdef", b"", 0) == (request.take_body(), request.take_piece(), request.buffered)


def test_take_body_joins() -> None:
    """Several pieces are joined, one is given as it is."""
    request = parse(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert b"ab" == request.take_body()


def test_the_path_as_bytes() -> None:
    """It is decoded once, whatever the bytes are."""
    for target, expected in ((b"/a/b", b"/a/b"), (b"/%ff%2e%252e/b?c=%20", b"/\xff.%2e/b"), (b"*", b"*")):
        assert expected == Request("GET", target, "1.1", []).path_bytes()


def test_the_facts_of_tls() -> None:
    """They are in the environ and in the scope, whose extension is a copy."""
    facts = TlsFacts({"SSL_PROTOCOL": "TLSv1.3"}, {"tls_version": 0x0304})
    peer = PEER._replace(scheme="https", tls=facts)
    request = parse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert "TLSv1.3" == request.wsgi_environ(peer, {})["SSL_PROTOCOL"]
    scope: Any = request.asgi_scope(peer, {})
    assert ("https", {"tls_version": 0x0304}) == (scope["scheme"], scope["extensions"]["tls"])
    assert scope["extensions"]["tls"] is not facts.extension
