"""Who a request comes from: tables of headers, and of who sent them."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi._http.forwarded import Proxies
from trio_uwsgi._http.origin import Origin
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.request import Request

pytestmark = pytest.mark.pure

ALL = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix")
TRUSTED = ("10.0.0.0/8", "unix")
PROXY = Peer(client=("10.0.0.1", 5000), server=("10.0.0.9", 8000), scheme="http", listener="10.0.0.9:8000")
STRANGER = Peer(client=("192.0.2.7", 5000), server=("10.0.0.9", 8000), scheme="http", listener="10.0.0.9:8000")
FILE = Peer(client=None, server=("/run/x.sock", None), scheme="http", listener="unix:/run/x.sock")


def origin(peer: Peer = PROXY, names: tuple[str, ...] = ALL, **headers: str | list[str]) -> Origin | None:
    """What is read of these headers; `for_` is X-Forwarded-For."""
    prefix = "" if "forwarded" in names else "x-forwarded-"
    found = [
        (f"{prefix}{name.rstrip('_')}".encode(), value.encode())
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return Proxies(TRUSTED, names).origin(found, peer)


def client(address: str, port: int = 0, **more: str) -> Origin:
    """A client that is known."""
    return Origin((address, port), True, **more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # who is believed
        (origin(STRANGER, for_="1.1.1.1", proto="https"), None),
        (origin(FILE, for_="1.1.1.1"), client("1.1.1.1")),
        (origin(), None),
        (origin(names=("x-forwarded-for",), proto="https"), None),
        # one hop
        (origin(for_="1.1.1.1"), client("1.1.1.1")),
        (origin(for_="1.1.1.1:443"), client("1.1.1.1", 443)),
        (origin(for_="1.1.1.1:99999"), client("1.1.1.1")),
        (origin(for_="1.1.1.1:" + "9" * 5000), client("1.1.1.1")),
        (origin(for_="1.1.1.1:\u0661"), client("1.1.1.1")),
        (origin(for_="1.1.1.1:http"), client("1.1.1.1")),
        (origin(for_="fe80::1%<b>"), Origin()),
        (origin(for_="010.1.1.1"), Origin()),
        (origin(for_="1.1.1"), Origin()),
        (origin(for_="16843009"), Origin()),
        (origin(for_="[1.1.1.1"), client("1.1.1.1")),
        (origin(for_="::ffff:1.1.1.1, ::ffff:10.0.0.2"), client("1.1.1.1")),
        (origin(for_="2001:db8::1"), client("2001:db8::1")),
        (origin(for_="[2001:db8::1]"), client("2001:db8::1")),
        (origin(for_="[2001:db8::1]:80"), client("2001:db8::1", 80)),
        (origin(for_=" 1.1.1.1 "), client("1.1.1.1")),
        (origin(for_="1.1.1.1", proto="https"), client("1.1.1.1", scheme="https")),
        (origin(for_="1.1.1.1", proto="HTTPS"), client("1.1.1.1", scheme="https")),
        (origin(proto="wss"), Origin(scheme="https")),
        (origin(host="shop.example:8443", port="8443"), Origin(host="shop.example:8443", port="8443")),
        (origin(prefix="/shop/"), Origin(prefix="/shop")),
        # what a client invents stands on the left
        (origin(for_="6.6.6.6, 1.1.1.1"), client("1.1.1.1")),
        (origin(for_=["6.6.6.6", "1.1.1.1"]), client("1.1.1.1")),
        (origin(for_="6.6.6.6, 1.1.1.1, 10.0.0.2"), client("1.1.1.1")),
        (origin(for_="6.6.6.6, nonsense, 10.0.0.2"), client("10.0.0.2")),
        (origin(for_="10.0.0.3, 10.0.0.2"), client("10.0.0.3")),
        # several proxies, each of which adds to all lists
        (origin(for_="6.6.6.6, 1.1.1.1, 10.0.0.2", proto="ftp, https, http"), client("1.1.1.1", scheme="https")),
        (origin(for_="1.1.1.1, 10.0.0.2", proto="https"), client("1.1.1.1", scheme="https")),
        # never an arbitrary value
        (origin(proto="javascript"), Origin()),
        (origin(host="a b"), Origin()),
        (origin(host="user@evil"), Origin()),
        (origin(port="http"), Origin()),
        (origin(port="0"), Origin()),
        (origin(port="65536"), Origin()),
        (origin(port="+80"), Origin()),
        (origin(port="9" * 5000), Origin()),
        (origin(proto=""), Origin()),
        (origin(proto="https\t"), Origin(scheme="https")),
        (origin(host="evil.example/@good.example"), Origin()),
        (origin(host="[::1"), Origin()),
        (origin(prefix="/a?b"), Origin()),
        (origin(prefix="/a%2e%2e/b"), Origin()),
        (origin(prefix="https://evil.example"), Origin()),
        (origin(prefix="//evil"), Origin()),
        (origin(prefix="/a/../b"), Origin()),
        (origin(prefix="no"), Origin()),
        (origin(for_="unknown"), Origin()),
        (origin(for_=""), Origin()),
        (origin(for_=", ".join(["10.0.0.2"] * 60)), client("10.0.0.2")),
    ],
)
def test_x_forwarded(found: Origin | None, expected: Origin | None) -> None:
    """Lists are read from the right, as far as proxies are trusted."""
    assert expected == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("for=1.1.1.1", client("1.1.1.1")),
        ('For="[2001:db8::1]:4711"', client("2001:db8::1", 4711)),
        ("for=1.1.1.1;proto=https;by=10.0.0.1;host=a.example", client("1.1.1.1", scheme="https", host="a.example")),
        ('for=1.1.1.1;proto=javascript;host="a b"', client("1.1.1.1")),
        ("for=6.6.6.6, for=1.1.1.1", client("1.1.1.1")),
        ("for=6.6.6.6;proto=http, for=1.1.1.1;proto=https, for=10.0.0.2;proto=http", client("1.1.1.1", scheme="https")),
        ("for=unknown;proto=https", Origin(None, True, "https")),
        ("for=_hidden, for=10.0.0.2", Origin(None, True)),
        ('for="_a\\"b,;c"', Origin(None, True)),
        ("proto=https", None),
        ("for=1.1.1.1;for=2.2.2.2", None),
        ("for 1.1.1.1", None),
        ("for=1.1.1.1;;", client("1.1.1.1")),
        ("nonsense, for=1.1.1.1", client("1.1.1.1")),
        ("for=1.1.1.1, nonsense", None),
        ("for=1.1.1.1, proto=https", None),
        ('for="1.1.1.1', None),
        # the examples of RFC 7239, and what others write
        ('for="_gazonk"', Origin(None, True)),
        ('For="[2001:db8:cafe::17]:4711"', client("2001:db8:cafe::17", 4711)),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", client("192.0.2.60", scheme="http")),
        ("for=192.0.2.43, for=198.51.100.17", client("198.51.100.17")),
        ("for=_hidden, for=_SEVKISEK", Origin(None, True)),
        ('for="192.0.2.43:_port"', client("192.0.2.43")),
        ("for=192.0.2.43:47011", client("192.0.2.43", 47011)),
        ("for=192.0.2.43;secret=egah2CGj55fSJFs", client("192.0.2.43")),
        ("FOR=192.0.2.43;PROTO=HTTPS", client("192.0.2.43", scheme="https")),
        (", ,for=192.0.2.43, ,", client("192.0.2.43")),
        ("for=192.0.2.43 ; proto=https", client("192.0.2.43", scheme="https")),
        ("for = 192.0.2.43", None),
        ('for=""', None),
        ("for=Unknown", Origin(None, True)),
        ('for="1\\.1.1.1"', client("1.1.1.1")),
        ("for=[2001:db8::1]", client("2001:db8::1")),
        ('for="2001:db8::1"', client("2001:db8::1")),
        ('for="[2001:db8::1%eth0]"', None),
        ("for=010.0.0.2", None),
        ('for="1.1.1.1";proto="https"', client("1.1.1.1", scheme="https")),
        ('for=1.1.1.1;host="shop.example:8443"', client("1.1.1.1", host="shop.example:8443")),
        ("for=1.1.1.1;host=shop.example:8443", client("1.1.1.1", host="shop.example:8443")),
        ('for=1.1.1.1;host="user@evil.example"', client("1.1.1.1")),
        ('for=6.6.6.6;by="x, for=10.0.0.2"', client("6.6.6.6")),
        ('for="6.6.6.6, for=1.1.1.1', None),
        ("for=6.6.6.6, for=10.0.0.2;for=10.0.0.3", None),
        (["for=6.6.6.6", "for=1.1.1.1"], client("1.1.1.1")),
        ("proto=https;for=1.1.1.1", client("1.1.1.1", scheme="https")),
        ("by=1.1.1.1", None),
        ("for=1.1.1.1\x00", None),
        ("", None),
    ],
)
def test_rfc_7239(text: str | list[str], expected: Origin | None) -> None:
    """The same for one header with all of it; what is left of a malformed element is not believed. A stranger is never
    believed.
    """
    assert expected == origin(names=("forwarded",), forwarded=text)
    assert origin(STRANGER, names=("forwarded",), forwarded=text) is None


# ----- what follows


def request(origin: Origin, target: bytes = b"/a%20b", host: bytes = b"inner:8000") -> Request:
    """A request with this origin."""
    made = Request("GET", target, "1.1", [(b"host", host), (b"accept", b"*/*")])
    made.origin = origin
    return made


SERVER = {"HTTP_HOST": "inner:8000", "SERVER_NAME": "inner", "SERVER_PORT": "8000"}


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin(), {"REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "5000", "wsgi.url_scheme": "http", **SERVER}),
        (client("1.1.1.1"), {"REMOTE_ADDR": "1.1.1.1", "REMOTE_PORT": "", **SERVER}),
        (client("1.1.1.1", 4), {"REMOTE_ADDR": "1.1.1.1", "REMOTE_PORT": "4"}),
        (Origin(None, True), {"REMOTE_ADDR": "", "REMOTE_PORT": ""}),
        (Origin(scheme="https"), {"wsgi.url_scheme": "https", "HTTPS": "on", "SERVER_PORT": "8000"}),
        (
            Origin(scheme="https", host="shop.example"),
            {"HTTP_HOST": "shop.example", "SERVER_NAME": "shop.example", "SERVER_PORT": "443"},
        ),
        (Origin(host="shop.example:81"), {"HTTP_HOST": "shop.example:81", "SERVER_PORT": "81"}),
        (Origin(port="443", scheme="https"), {"HTTP_HOST": "inner", "SERVER_NAME": "inner", "SERVER_PORT": "443"}),
        (Origin(port="8443"), {"HTTP_HOST": "inner:8443", "SERVER_PORT": "8443"}),
        (Origin(scheme="http"), {"wsgi.url_scheme": "http"}),
        (Origin(prefix="/shop"), {"SCRIPT_NAME": "/shop", "PATH_INFO": "/a b"}),
    ],
)
def test_environs(origin: Origin, expected: dict[str, str]) -> None:
    """What WSGI applications get."""
    environ = request(origin).wsgi_environ(PROXY, {})
    assert expected == {key: environ[key] for key in expected}
    assert ("HTTPS" in environ) == (environ["wsgi.url_scheme"] == "https")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin(), {"client": ("10.0.0.1", 5000), "scheme": "http", "server": ("10.0.0.9", 8000)}),
        (client("1.1.1.1", 4), {"client": ("1.1.1.1", 4)}),
        (Origin(None, True), {"client": None}),
        (
            Origin(scheme="https", host="shop.example"),
            {
                "scheme": "https",
                "server": ("shop.example", 443),
                "headers": [(b"host", b"shop.example"), (b"accept", b"*/*")],
            },
        ),
        (Origin(prefix="/shop"), {"root_path": "/shop", "path": "/shop/a b", "raw_path": b"/shop/a%20b"}),
    ],
)
def test_scopes(origin: Origin, expected: dict[str, Any]) -> None:
    """What ASGI applications get."""
    scope = request(origin).asgi_scope(PROXY, {})
    assert expected == {key: scope[key] for key in expected}


def test_a_host_with_a_port_that_is_none() -> None:
    """The port is that of the scheme."""
    made = request(Origin(scheme="https"), host=b"a:" + b"9" * 5000)
    assert ("a", 443) == made.asgi_scope(PROXY, {})["server"]
    assert "443" == made.wsgi_environ(PROXY, {})["SERVER_PORT"]


def test_without_a_host() -> None:
    """HTTP/1.0 may have none."""
    made = Request("GET", b"/", "1.0", [])
    made.origin = Origin(scheme="https")
    assert ("localhost", 443) == made.asgi_scope(PROXY, {})["server"]


def test_the_log_names_the_client() -> None:
    """As far as it is known."""
    assert (b"1.1.1.1", b"4") == request(client("1.1.1.1", 4)).remote()
    assert (b"1.1.1.1", b"") == request(client("1.1.1.1")).remote()
    assert (b"", b"") == request(Origin()).remote()
