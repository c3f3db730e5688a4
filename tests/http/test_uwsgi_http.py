"""Requests of front servers, as environ and as scope, and the responses to them."""

from __future__ import annotations

import io
import wsgiref.validate
from typing import TYPE_CHECKING, Any

import pytest

from trio_uwsgi._http import uwsgi_http
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.uwsgi_http import RpcRequest, UwsgiRequest, UwsgiResponse, without_script_name
from trio_uwsgi._protocol.remote_calls import RpcCall
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.pure

PEER = Peer(client=None, server=("/run/app.sock", None), scheme="http")
DATE = b"Sun, 22 Nov 2026 10:00:00 GMT"

# What nginx 1.22 sends with its `uwsgi_params`.
NGINX = {
    "QUERY_STRING": "x=1",
    "REQUEST_METHOD": "GET",
    "CONTENT_TYPE": "",
    "CONTENT_LENGTH": "",
    "REQUEST_URI": "/a%20b?x=1",
    "PATH_INFO": "/a b",
    "DOCUMENT_ROOT": "/usr/share/nginx/html",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REQUEST_SCHEME": "http",
    "REMOTE_ADDR": "192.0.2.1",
    "REMOTE_PORT": "5555",
    "SERVER_PORT": "8080",
    "SERVER_NAME": "example.com",
    "HTTP_HOST": "example.com:8080",
    "HTTP_X_REAL_IP": "192.0.2.9",
}


def request(changes: dict[str, str | None] | None = None) -> UwsgiRequest:
    """What nginx sends, with changes; None takes a var away."""
    found = {**NGINX, **(changes or {})}
    return UwsgiRequest([(name.encode(), value.encode()) for name, value in found.items() if value is not None])


def environ(changes: dict[str, str | None] | None = None, **base: object) -> dict[str, Any]:
    """The environ of what nginx sends, with changes."""
    return request(changes).wsgi_environ(PEER, base)


def scope(changes: dict[str, str | None] | None = None) -> dict[str, Any]:
    """The scope of what nginx sends, with changes."""
    return request(changes).asgi_scope(PEER, {})


def bare(**found: str) -> UwsgiRequest:
    """A request of these vars alone."""
    return UwsgiRequest([(name.encode(), value.encode()) for name, value in found.items()])


def test_environ_of_nginx() -> None:
    """The environ has the vars as they came, empty ones too, what all have in common, and the missing SCRIPT_NAME."""
    expected = {**NGINX, "SCRIPT_NAME": "", "wsgi.multithread": True, "wsgi.url_scheme": "http"}
    assert expected == environ(None, **{"wsgi.multithread": True})


def test_scope_of_nginx() -> None:
    """The scope has the decoded path, what the client sent, and the headers; the empty ones are none."""
    assert {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=1",
        "root_path": "",
        "headers": [(b"host", b"example.com:8080"), (b"x-real-ip", b"192.0.2.9")],
        "client": ("192.0.2.1", 5555),
        "server": ("example.com", 8080),
        "state": {},
        "extensions": {"http.response.pathsend": {}, "http.response.zerocopysend": {}},
    } == scope()


def test_the_state_is_copied() -> None:
    """What a request changes in its state, no other request sees."""
    state: dict[str, object] = {"pool": 1}
    mine = request().asgi_scope(PEER, state)["state"]
    assert state == mine
    assert state is not mine


def test_body_headers() -> None:
    """Type and length of a body are headers once, from the vars that are theirs."""
    found = {
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "5",
        "HTTP_CONTENT_TYPE": "text/plain",
        "HTTP_CONTENT_LENGTH": "5",
    }
    expected = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    assert expected == scope(dict(found))["headers"][:2]
    assert 4 == len(scope(dict(found))["headers"])
    assert found.items() <= environ(dict(found)).items()


def test_repeated_headers() -> None:
    """A header that the front server sends twice is twice in the scope; in the environ the last one counts."""
    twice = UwsgiRequest([(b"HTTP_X", b"1"), (b"HTTP_X", b"2")])
    assert [(b"x", b"1"), (b"x", b"2")] == twice.asgi_scope(PEER, {})["headers"]
    assert "2" == twice.wsgi_environ(PEER, {})["HTTP_X"]


def test_wsgiref_accepts_the_environ() -> None:
    """The environ passes the checks of the standard library, also when the front server sends next to nothing."""

    @wsgiref.validate.validator
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    base = {
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.errors": io.StringIO(),
        "wsgi.input": io.BytesIO(),
    }
    for found in (
        request({"CONTENT_LENGTH": "0"}),
        request({"CONTENT_LENGTH": "0", "SCRIPT_NAME": "/"}),
        request({"CONTENT_LENGTH": "0", "SCRIPT_NAME": "/app/", "PATH_INFO": "x"}),
        bare(A="b"),
        bare(REQUEST_URI="/x?y"),
        bare(REQUEST_URI="http://h/p"),
        bare(REQUEST_URI="*", REQUEST_METHOD="OPTIONS"),
        bare(REQUEST_URI="*", PATH_INFO="*", REQUEST_METHOD="OPTIONS"),
    ):
        result: Any = app(found.wsgi_environ(PEER, base), lambda status, headers, exc_info=None: lambda data: None)
        assert [b""] == list(result)
        result.close()


def test_a_request_that_lacks_everything() -> None:
    """It is a GET of HTTP/1.0; the server has a default name, and the client is unknown."""
    lacking = bare(A="b")
    assert {
        "A": "b",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
    } == lacking.wsgi_environ(PEER, {})
    found = lacking.asgi_scope(PEER, {})
    assert ("", b"/", b"", None, ("localhost", 80)) == tuple(
        found[key] for key in ("path", "raw_path", "query_string", "client", "server")
    )
    assert "GET" == bare(REQUEST_METHOD="").wsgi_environ(PEER, {})["REQUEST_METHOD"]


def test_path_without_path_info() -> None:
    """Path and query come from REQUEST_URI where they have no vars; SCRIPT_NAME is not repeated."""
    lacking = bare(REQUEST_URI="/app/a%20b?x=1", SCRIPT_NAME="/app")
    found = lacking.wsgi_environ(PEER, {})
    assert ("/app", "/a b", "x=1") == (found["SCRIPT_NAME"], found["PATH_INFO"], found["QUERY_STRING"])
    found = lacking.asgi_scope(PEER, {})
    assert ("/app/a b", "/app", b"x=1") == (found["path"], found["root_path"], found["query_string"])


@pytest.mark.parametrize(
    ("script", "path", "uri", "expected"),
    [
        # SCRIPT_NAME and PATH_INFO as the front server has cut them.
        (None, "/x", "/x", ("", "/x")),
        ("", "", "/", ("", "")),
        ("/", "/x", "/x", ("", "/x")),
        ("/", "/", "/", ("", "/")),
        ("//", "/x", "/x", ("", "/x")),
        ("/app", "", "/app", ("/app", "")),
        ("/app", "/x", "/app/x", ("/app", "/x")),
        ("/app/", "/", "/app/", ("/app", "/")),
        ("/app/", "/x", "/app/x", ("/app", "/x")),
        ("app", "x", "/app/x", ("/app", "/x")),
        ("/app", "/app/x", "/app/x", ("/app", "/app/x")),
        # Cut here.
        ("/app", None, "/app", ("/app", "")),
        ("/app", None, "/app/", ("/app", "/")),
        ("/app", None, "/app/x?y", ("/app", "/x")),
        ("/app/", None, "/app/x", ("/app", "/x")),
        ("/", None, "/x", ("", "/x")),
        ("/ap", None, "/app/x", ("/ap", "/app/x")),
        ("/app", None, "/application", ("/app", "/application")),
        ("/a b", None, "/a%20b/c%20d", ("/a b", "/c d")),
        (None, None, "/x", ("", "/x")),
        (None, None, "//h/p", ("", "//h/p")),
        # Targets that are no path.
        (None, None, "http://h/p?q", ("", "/p")),
        ("/p", None, "http://h/p/x", ("/p", "/x")),
        (None, None, "HTTPS://h", ("", "/")),
        (None, None, "*", ("", "")),
        (None, "*", "*", ("", "")),
        (None, None, "x", ("", "/x")),
        (None, "x", None, ("", "/x")),
        ("/app/", "/x", None, ("/app", "/x")),
    ],
)
def test_paths_are_joined_and_cut_as_segments(
    script: str | None, path: str | None, uri: str | None, expected: tuple[str, str]
) -> None:
    """SCRIPT_NAME is empty or begins with "/" and ends without; PATH_INFO is empty or begins with "/"; path is both."""
    changes = {"SCRIPT_NAME": script, "PATH_INFO": path, "REQUEST_URI": uri}
    found = environ(changes)
    assert expected == (found["SCRIPT_NAME"], found["PATH_INFO"])
    assert (expected[0], "".join(expected)) == (scope(changes)["root_path"], scope(changes)["path"])
    if uri is not None:
        assert uri == found["REQUEST_URI"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        *(("/a%20b?c", b"/a%20b"), ("http://h/p%20q?x", b"/p%20q"), ("http://h?x", b"/"), ("*", b""), ("x?y", b"/x")),
        (None, b"/a%20b"),
    ],
)
def test_raw_path(uri: str | None, expected: bytes) -> None:
    """What the client asked for is a path, whatever form its target has."""
    assert expected == scope({"REQUEST_URI": uri})["raw_path"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"q=%e9&x=1", b"q=%e9&x=1"),
        (b"q=\xe9", b"q=%E9"),
        (b"q=\xc3\xa9 b\x00\x7f", b"q=%C3%A9%20b%00%7F"),
        (b"\n", b"%0A"),
    ],
)
def test_what_should_be_encoded_in_a_query(query: bytes, expected: bytes) -> None:
    """ASGI's query is percent-encoded, so bytes that came raw are; WSGI gets the bytes."""
    for pairs in ([(b"QUERY_STRING", query)], [(b"REQUEST_URI", b"/?" + query)]):
        asked = UwsgiRequest(pairs)
        assert expected == asked.asgi_scope(PEER, {})["query_string"]
        assert query.decode("latin-1") == asked.wsgi_environ(PEER, {})["QUERY_STRING"]


def test_remote() -> None:
    """The front server names the client, with any text."""
    assert (b"192.0.2.1", b"5555") == request().remote()
    assert (b"", b"") == bare(A="b").remote()
    assert (b"a\nb", b"") == bare(REMOTE_ADDR="a\nb").remote()


@pytest.mark.parametrize(
    ("script", "path", "expected"),
    [
        *(("/app", "/app/x", "/x"), ("/app", "/app", ""), ("/app/", "/app/", "/"), ("/ap", "/app/x", "/app/x")),
        *(("", "/x", "/x"), ("/", "/x", "/x"), (None, "/x", "/x"), ("/app", "/x", "/x"), ("/app", None, None)),
    ],
)
def test_vars_without_script_name(script: str | None, path: str | None, expected: str | None) -> None:
    """SCRIPT_NAME is taken off PATH_INFO, in whole segments, and nothing else changes."""
    changes = {"SCRIPT_NAME": script, "PATH_INFO": path}
    pairs = request(changes).pairs
    assert request({**changes, "PATH_INFO": expected}).pairs == without_script_name(pairs)


def test_target_without_request_uri() -> None:
    """What the client asked for is made of the path and the query where REQUEST_URI is missing."""
    lacking = bare(PATH_INFO="/a b", SCRIPT_NAME="/app", QUERY_STRING="x=1")
    assert (b"/app/a%20b?x=1", b"/app/a%20b") == (lacking.target, lacking.raw_path)
    assert b"/a" == bare(PATH_INFO="/a", QUERY_STRING="").target


def test_a_rewritten_request() -> None:
    """Where the front server has rewritten path and query, applications get those, and the original beside them."""
    changes: dict[str, str | None] = {"PATH_INFO": "/new", "QUERY_STRING": "new=1", "REQUEST_URI": "/old?old=1"}
    found = environ(changes)
    assert ("/new", "new=1", "/old?old=1") == (found["PATH_INFO"], found["QUERY_STRING"], found["REQUEST_URI"])
    found = scope(changes)
    assert ("/new", b"new=1", b"/old") == (found["path"], found["query_string"], found["raw_path"])


def test_texts() -> None:
    """WSGI gets bytes as latin-1, ASGI gets the path as UTF-8; bytes that are not UTF-8 are replaced."""
    changes: dict[str, str | None] = {"PATH_INFO": "/é", "HTTP_X": "é"}
    assert ("/Ã©", "Ã©") == (environ(changes)["PATH_INFO"], environ(changes)["HTTP_X"])
    assert ("/é", (b"x", "é".encode())) == (scope(changes)["path"], scope(changes)["headers"][-1])
    assert "/\ufffd" == UwsgiRequest([(b"PATH_INFO", b"/\xff")]).path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "http"),
        ({"REQUEST_SCHEME": None}, "peer"),
        ({"REQUEST_SCHEME": ""}, "peer"),
        ({"REQUEST_SCHEME": "https"}, "https"),
        ({"HTTPS": "on"}, "https"),
        ({"HTTPS": "ON"}, "https"),
        ({"HTTPS": "1"}, "https"),
        ({"HTTPS": "off"}, "http"),
        ({"HTTPS": ""}, "http"),
        ({"HTTPS": "on", "UWSGI_SCHEME": "http"}, "http"),
        ({"UWSGI_SCHEME": "https"}, "https"),
        ({"UWSGI_SCHEME": ""}, "http"),
        ({"UWSGI_SCHEME": "HTTPS"}, "https"),
        ({"UWSGI_SCHEME": "javascript"}, "http"),
        ({"UWSGI_SCHEME": "https,http"}, "http"),
        ({"UWSGI_SCHEME": "ftp", "HTTPS": "on"}, "https"),
        ({"REQUEST_SCHEME": "HTTPS"}, "https"),
        ({"REQUEST_SCHEME": "javascript"}, "peer"),
        ({"REQUEST_SCHEME": "https\n"}, "peer"),
        ({"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_SSL": "on", "HTTP_FORWARDED": "proto=https"}, "http"),
    ],
)
def test_scheme(changes: dict[str, str | None], expected: str) -> None:
    """The scheme is that of UWSGI_SCHEME, HTTPS, REQUEST_SCHEME or the connection, in this order; http or https."""
    peer = Peer(client=None, server=None, scheme="peer")
    assert expected == request(changes).wsgi_environ(peer, {})["wsgi.url_scheme"]
    assert expected == request(changes).asgi_scope(peer, {})["scheme"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SERVER_NAME": None, "SERVER_PORT": None}, ("example.com", "8080")),
        ({"SERVER_NAME": "", "SERVER_PORT": "81"}, ("example.com", "81")),
        ({"SERVER_NAME": "n", "SERVER_PORT": None, "HTTP_HOST": "h"}, ("n", "80")),
        ({"SERVER_NAME": "n", "SERVER_PORT": None, "HTTP_HOST": None, "HTTPS": "on"}, ("n", "443")),
        ({"SERVER_NAME": None, "HTTP_HOST": "user@host"}, ("localhost", "8080")),
    ],
)
def test_server(changes: dict[str, str | None], expected: tuple[str, str]) -> None:
    """Name and port of the server come from the Host header if the front server does not send them."""
    found = environ(changes)
    assert expected == (found["SERVER_NAME"], found["SERVER_PORT"])
    assert (expected[0], int(expected[1])) == scope(changes)["server"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"REMOTE_PORT": None}, ("192.0.2.1", 0)),
        ({"REMOTE_PORT": "x"}, ("192.0.2.1", 0)),
        ({"REMOTE_PORT": "123456"}, ("192.0.2.1", 0)),
        ({"REMOTE_ADDR": "unix:", "REMOTE_PORT": ""}, ("unix:", 0)),
        ({"REMOTE_ADDR": None}, None),
        ({"REMOTE_ADDR": ""}, None),
    ],
)
def test_client(changes: dict[str, str | None], expected: tuple[str, int] | None) -> None:
    """The client is the one that the front server names, never the front server itself."""
    assert expected == scope(changes)["client"]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (None, "1.0"),
        ("HTTP/1.0", "1.0"),
        ("HTTP/1.1", "1.1"),
        ("HTTP/1.2", "1.1"),
        ("HTTP/2.0", "2"),
        ("HTTP/2", "2"),
        ("HTTP/3.0", "3"),
        ("INCLUDED", "1.0"),
    ],
)
def test_http_version(protocol: str | None, expected: str) -> None:
    """The version is the one that the client spoke with the front server."""
    assert expected == scope({"SERVER_PROTOCOL": protocol})["http_version"]


def test_vars_that_are_not_passed_on() -> None:
    """A var cannot replace a key that the server sets, nor set a proxy for HTTP clients in the application."""
    found = environ(
        {"HTTP_PROXY": "evil", "wsgi.input": "evil", "uwsgi.node": "evil", "x-wsgiorg.fdevent": "evil", "wsgi": "fine"},
        **{"wsgi.input": "ours"},
    )
    assert "ours" == found["wsgi.input"]
    assert "fine" == found["wsgi"]
    assert set() == {"HTTP_PROXY", "uwsgi.node", "x-wsgiorg.fdevent"} & found.keys()


def test_vars_of_uwsgi_are_kept() -> None:
    """UWSGI_ vars are passed on, as uWSGI does."""
    assert "http" == environ({"UWSGI_ROUTER": "http"})["UWSGI_ROUTER"]


def test_caches_of_names_are_bounded() -> None:
    """Names that clients invent do not fill the memory, and are correct in the environ."""
    for number in range(2000):
        made_up = bare(**{f"HTTP_MADE_{number}": "x"})
        assert [(b"made-%d" % number, b"x")] == made_up.headers
        assert "x" == made_up.wsgi_environ(PEER, {})[f"HTTP_MADE_{number}"]
    assert 1024 == len(uwsgi_http._header_names) == len(uwsgi_http._environ_names)


# --- RPC over HTTP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/hello/one/two", RpcCall(name=b"hello", args=(b"one", b"two"), style=2)),
        (b"//hello//one/", RpcCall(name=b"hello", args=(b"one",), style=2)),
        (b"hello", RpcCall(name=b"hello", style=2)),
        (b"/", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_path_is_the_call(path: bytes | None, expected: RpcCall | None) -> None:
    """The parts of the path are the name of the function and its arguments; empty ones are dropped, as in uWSGI."""
    asked = RpcRequest([(b"X", b"y")] if path is None else [(b"PATH_INFO", path)])
    assert (173, 2, expected) == (asked.modifier1, asked.modifier2, asked.call())


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, b"application/binary"),
        (b"", b"application/binary"),
        (b"*", b"application/binary"),
        (b"*/*", b"application/binary"),
        (b"text/*", b"application/binary"),
        (b"text/html, text/plain;q=0.5", b"application/binary"),
        (b"text/html\r\nX: y", b"application/binary"),
        (b"application/json", b"application/json"),
    ],
)
def test_content_type(accept: bytes | None, expected: bytes) -> None:
    """The result is of the one type that the client accepts, or bytes."""
    asked = RpcRequest([(b"PATH_INFO", b"/f")] + ([] if accept is None else [(b"HTTP_ACCEPT", accept)]))
    assert expected == asked.content_type()


# --- responses --------------------------------------------------------------------------------------------------------


def sent(changes: dict[str, str | None], status: int, headers: Iterable[tuple[bytes, bytes]], *pieces: bytes) -> bytes:
    """The bytes of a whole response."""
    response = UwsgiResponse(request(changes))
    response.start(status, headers)
    wire = b"".join([response.data(piece, number < len(pieces), DATE) for number, piece in enumerate(pieces, 1)])
    assert (True, False) == (response.complete, response.keep_alive)
    return wire


def test_a_response_has_nothing_of_ours() -> None:
    """The front server sets date, server, length and framing; the end of the connection ends the body."""
    expected = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"
    assert expected == sent({}, 200, [(b"X", b"y")], b"hel", b"", b"lo")
    assert expected == sent({}, 200, [(b"X", b"y")], b"hello")


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (None, b"HTTP/1.0"),
        ("HTTP/1.0", b"HTTP/1.0"),
        ("HTTP/1.1", b"HTTP/1.1"),
        ("HTTP/2.0", b"HTTP/1.1"),
        ("HTTP/3.0", b"HTTP/1.1"),
    ],
)
def test_version_of_the_status_line(protocol: str | None, expected: bytes) -> None:
    """The version is the client's, as in uWSGI, as long as it has a status line of this form."""
    assert expected + b" 204 No Content\r\n\r\n" == sent({"SERVER_PROTOCOL": protocol}, 204, [], b"")


def test_the_applications_own_headers() -> None:
    """What the application says about date, server and length is passed on; what is about a connection is not."""
    headers = [
        (b"Date", b"d"),
        (b"Server", b"s"),
        (b"Content-Length", b"2"),
        (b"Connection", b"close"),
        (b"Transfer-Encoding", b"chunked"),
    ]
    assert b"HTTP/1.1 200 OK\r\nDate: d\r\nServer: s\r\nContent-Length: 2\r\n\r\nhi" == sent({}, 200, headers, b"hi")


def test_trailers_are_left_out() -> None:
    """Nothing is in chunks here; the body ends with the connection."""
    response = UwsgiResponse(request())
    response.start(200, [])
    response.announce_trailers([b"x-a"])
    wire = response.data(b"a", True, DATE) + response.trailers([(b"x-a", b"1")])
    assert (b"HTTP/1.1 200 OK\r\n\r\na", True) == (wire, response.complete)


@pytest.mark.parametrize("changes", [{"REQUEST_METHOD": "HEAD"}, {}])
def test_responses_without_a_body(changes: dict[str, str | None]) -> None:
    """Nothing follows the head in answer to HEAD, nor with 304."""
    status = 200 if changes else 304
    wire = sent(changes, status, [(b"Content-Length", b"5")], b"hello")
    assert b"\r\nContent-Length: 5\r\n\r\n" == wire[wire.index(b"\r\n") :]


def test_responses_are_checked() -> None:
    """The checks are those of HTTP: a body that is shorter than it said, and headers that cannot be sent."""
    response = UwsgiResponse(request())
    response.start(200, [(b"content-length", b"3")])
    with pytest.raises(LocalProtocolError, match="shorter"):
        response.data(b"x", False, DATE)
    with pytest.raises(LocalProtocolError, match="control characters"):
        UwsgiResponse(request()).start(200, [(b"X", b"a\r\nb")])


def test_the_path_as_bytes() -> None:
    """It is what the front server has decoded, with SCRIPT_NAME before it."""
    assert b"/a/b c" == bare(SCRIPT_NAME="/a/", PATH_INFO="/b c").path_bytes()
    assert b"/x y" == bare(REQUEST_URI="/x%20y?z").path_bytes()
