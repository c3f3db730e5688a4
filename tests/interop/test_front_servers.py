"""Front servers before ours and, to know that the tests are right, before a real uWSGI: nginx over TCP and unix
sockets, with and without `uwsgi_request_buffering`; Apache's mod_proxy_uwsgi; uWSGI's HTTP router; and `uwsgi_curl`.

What a client sees is equal for all of them. The differences:

what                   | where               | why
-----------------------|---------------------|---------------------------------------------------------------------
an app that raises     | ours answers 500    | uWSGI closes without a byte, of which nginx makes 502 and the router
                       |                     | nothing; ours tells the client as it does over HTTP
a response that is cut | ours over TCP       | the protocol has no end but that of the connection, which ours resets
                       | resets              | over TCP; unix sockets have no reset, and the router hides it
a chunked upload       | Apache and the      | Apache answers 411 by itself; the router needs an option for it, and
                       | router are left out | leaves chunks to the application
%2F in a path          | Apache is left out  | it answers 404 by itself
percent-encoded paths  | `uwsgi_curl`        | it sends them as PATH_INFO without decoding them
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.interop.fronts import Fronts, open_fronts
from tests.interop.peers import TIMEOUT, find_program

pytestmark = pytest.mark.real

MIB = 1 << 20
PIECE = bytes(range(256)) * 256
NGINX = [f"nginx {over} {buffering}" for over in ("tcp", "unix") for buffering in ("buffered", "unbuffered")]
FRONTS = [*NGINX, "apache tcp", "apache unix", "router tcp", "router unix"]


@pytest.fixture(scope="module")
def fronts(uwsgi_program: str) -> Iterator[Fronts]:
    """All servers of this module, which end with it."""
    # Not pytest's folder, which only its user may enter.
    with tempfile.TemporaryDirectory() as folder, open_fronts(uwsgi_program, Path(folder)) as fronts:
        yield fronts


@pytest.fixture(params=["uwsgi wsgi", "ours wsgi", "ours asgi"], ids=lambda kind: kind.replace(" ", "-"))
def kind(request: pytest.FixtureRequest) -> str:
    """What is behind the front server."""
    return str(request.param)


@pytest.fixture(params=FRONTS, ids=lambda front: front.replace(" ", "-"))
def front(request: pytest.FixtureRequest) -> str:
    """The front server, and how it passes on."""
    return str(request.param)


@pytest.fixture
def client(fronts: Fronts, kind: str, front: str) -> Iterator[httpx.Client]:
    """A client of the front server."""
    url = f"http://127.0.0.1:{fronts.port(front, kind)}"
    # The router closes after each response without saying so: the next request may or may not be too early to notice.
    limits = httpx.Limits(max_keepalive_connections=0 if front.startswith("router") else 5)
    transport = httpx.HTTPTransport(verify=False, limits=limits)  # to verify nothing saves reading all certificates
    with httpx.Client(base_url=url, timeout=TIMEOUT, transport=transport) as client:
        yield client


def sha256(data: bytes) -> str:
    """The hash of a body, as the applications return it."""
    return hashlib.sha256(data).hexdigest()


def test_get(client: httpx.Client) -> None:
    """A GET arrives with its query, a cookie and a header of its own, from the client that sent it."""
    response = client.get("/echo/here?a=1&b=%20c&a=+", headers={"X-Test": "one, two", "Cookie": "k=v; l=w"})
    assert 200 == response.status_code
    assert {
        "method": "GET",
        "path": "/echo/here",
        "query": "a=1&b=%20c&a=+",
        "cookie": "k=v; l=w",
        "test": "one, two",
        "type": None,
        "scheme": "http",
        "client": "127.0.0.1",
        "count": 0,
        "sha256": sha256(b""),
    } == response.json()


def test_head(client: httpx.Client) -> None:
    """A HEAD is answered with the length of what a GET would get, and nothing else."""
    response = client.head("/echo")
    expected = len(client.get("/echo").content) + len("HEAD") - len("GET")
    assert (200, b"") == (response.status_code, response.content)
    assert expected == int(response.headers["content-length"])


@pytest.mark.parametrize("size", [0, 1, 10 * MIB])
def test_post(client: httpx.Client, size: int) -> None:
    """A body of any size arrives whole, with its type."""
    body = (PIECE * (size // len(PIECE) + 1))[:size]
    seen = client.post("/echo", content=body, headers={"Content-Type": "text/x-test"}).json()
    expected = ("POST", size, sha256(body), "text/x-test")
    assert expected == (seen["method"], seen["count"], seen["sha256"], seen["type"])


@pytest.mark.parametrize("front", NGINX, indirect=True)
def test_a_chunked_upload(client: httpx.Client) -> None:
    """A body that comes in chunks arrives whole, and without its chunks."""
    seen = client.post("/echo", content=iter([b"hello", PIECE, b"!" * MIB])).json()
    assert (5 + len(PIECE) + MIB, sha256(b"hello" + PIECE + b"!" * MIB)) == (seen["count"], seen["sha256"])


@pytest.mark.parametrize("kind", ["ours wsgi", "ours asgi"], indirect=True)
@pytest.mark.parametrize("front", NGINX, indirect=True)
def test_an_early_answer_to_a_large_upload(client: httpx.Client) -> None:
    """nginx, which sends a whole upload before it reads, has the answer that did not wait for it, and makes no 502."""
    answers = [client.post("/redirect", content=bytes(8 * MIB)).status_code for _ in range(5)]
    assert [302] * 5 == answers


@pytest.mark.parametrize("kind", ["ours wsgi", "ours asgi"], indirect=True)
@pytest.mark.parametrize("front", NGINX[:1], indirect=True)
def test_raw_bytes_in_a_query(client: httpx.Client, kind: str) -> None:
    """What a client should have percent-encoded, and nginx passes on, is encoded for ASGI; WSGI has the bytes."""
    assert client.base_url.port is not None
    with socket.create_connection(("127.0.0.1", client.base_url.port), timeout=TIMEOUT) as sock:
        sock.sendall(b"GET /echo?q=\xe9 HTTP/1.0\r\nHost: x\r\n\r\n")
        with sock.makefile("rb") as answer:
            seen = json.loads(answer.read().partition(b"\r\n\r\n")[2])
    assert {"ours wsgi": "q=\xe9", "ours asgi": "q=%E9"}[kind] == seen["query"]


def test_posts_on_one_connection(client: httpx.Client) -> None:
    """Requests one after the other, on one connection if the front server keeps it, see only their own bodies."""
    for number in range(5):
        body = b"%d" % number * 10_000
        assert sha256(body) == client.post("/echo", content=body).json()["sha256"]


@pytest.mark.parametrize("path", ["/echo/a%20b", "/echo/%C3%BCn%C3%AFcode/%E2%98%83", "/echo/%25%3F%23;x=1"])
def test_encoded_paths(client: httpx.Client, path: str) -> None:
    """A path with percent-encoding arrives decoded, as UTF-8."""
    expected = {
        "/echo/a%20b": "/echo/a b",
        "/echo/%C3%BCn%C3%AFcode/%E2%98%83": "/echo/\u00fcn\u00efcode/\u2603",
        "/echo/%25%3F%23;x=1": "/echo/%?#;x=1",
    }
    assert expected[path] == client.get(path).json()["path"]


@pytest.mark.parametrize("front", [*NGINX, "router tcp"], indirect=True)
def test_an_encoded_slash(client: httpx.Client) -> None:
    """A slash that was encoded is one like any other after decoding."""
    assert "/echo/a/b" == client.get("/echo/a%2Fb").json()["path"]


@pytest.mark.parametrize("size", [1, 70_000, pytest.param(50 * MIB, marks=pytest.mark.long)])
def test_downloads(client: httpx.Client, size: int) -> None:
    """What is streamed without a length arrives whole."""
    digest, count = hashlib.sha256(), 0
    with client.stream("GET", f"/down?size={size}") as response:
        for data in response.iter_raw():
            digest.update(data)
            count += len(data)
    expected = hashlib.sha256()
    for at in range(0, size, len(PIECE)):
        expected.update(PIECE[: size - at])
    assert (size, expected.hexdigest()) == (count, digest.hexdigest())


def test_an_empty_response(client: httpx.Client) -> None:
    """A response without a body is one."""
    response = client.get("/empty")
    assert (200, b"", "text/plain") == (response.status_code, response.content, response.headers["content-type"])


def test_a_redirect(client: httpx.Client) -> None:
    """A redirect reaches the client, which follows it."""
    response = client.get("/redirect")
    assert 302 == response.status_code
    assert "/echo" == response.headers["location"].removeprefix(str(client.base_url).rstrip("/"))
    assert "/echo" == client.get("/redirect", follow_redirects=True).json()["path"]


def test_cookies_that_are_set(client: httpx.Client) -> None:
    """Two cookies are two header fields."""
    assert ["a=1", "b=2; Path=/"] == client.get("/cookies").headers.get_list("set-cookie")


def test_an_application_that_raises(client: httpx.Client, front: str, kind: str) -> None:
    """Ours responds with 500; a real uWSGI closes without a byte. Either way the next request is served."""
    if kind == "uwsgi wsgi" and front.startswith("router"):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/raise")
    else:
        expected = 502 if kind == "uwsgi wsgi" and front.startswith("nginx") else 500
        assert expected == client.get("/raise").status_code
    assert 200 == client.get("/echo").status_code


@pytest.mark.parametrize("query", ["length", "none"])
def test_an_application_that_raises_too_late(client: httpx.Client, front: str, kind: str, query: str) -> None:
    """The client sees a cut response by its length; without one, if ours can reset the connection."""
    if query == "length" or (kind != "uwsgi wsgi" and front in ("apache tcp", *(way for way in NGINX if "tcp" in way))):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"/cut?{query}")
    else:
        assert PIECE == client.get(f"/cut?{query}").content
    deadline = time.monotonic() + TIMEOUT
    while front.startswith("router") and not _is_served(client) and time.monotonic() < deadline:
        time.sleep(0.1)  # until the router's gracetime for a server that reset a connection is over
    assert 200 == client.get("/echo").status_code


def _is_served(client: httpx.Client) -> bool:
    """Does the router not close a request without a word?"""
    try:
        return client.get("/echo").status_code == 200
    except httpx.RemoteProtocolError:
        return False


def test_a_client_that_disconnects(client: httpx.Client, front: str, fronts: Fronts, kind: str) -> None:
    """A disconnect in the middle of an endless response ends it, behind the front server too."""
    before = int(client.get("/ended").text)
    with socket.create_connection(("127.0.0.1", fronts.port(front, kind)), timeout=TIMEOUT) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" == sock.recv(12)
        assert sock.recv(1 << 16)
    deadline = time.monotonic() + TIMEOUT
    while (after := int(client.get("/ended").text)) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert before + 1 == after


def test_a_disconnect_during_an_upload(client: httpx.Client, front: str, fronts: Fronts, kind: str) -> None:
    """A disconnect in the middle of a body affects no other request."""
    with socket.create_connection(("127.0.0.1", fronts.port(front, kind)), timeout=TIMEOUT) as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + PIECE)
    for _ in range(5):
        assert 5 == client.post("/echo", content=b"hello").json()["count"]


# ----- uwsgi_curl


@pytest.fixture
def uwsgi_curl() -> str:
    """The path of `uwsgi_curl`; a test that needs it is skipped without it."""
    path = find_program("uwsgi_curl")
    if path is None:
        pytest.skip("uwsgi_curl is not installed: pip install uwsgi-tools")
    return path


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_uwsgi_curl(fronts: Fronts, kind: str, over: str, uwsgi_curl: str) -> None:
    """The command line client of the uwsgi protocol gets, posts, and ends with an error for what is no success."""
    backend = fronts.backend(kind)
    address = backend.tcp if over == "tcp" else backend.unix

    def run(*options: str) -> tuple[int, str]:
        command = [uwsgi_curl, address, *options, "--timeout", str(TIMEOUT)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        return done.returncode, done.stdout

    code, answer = run("example.test/echo/x?a=b", "-H", "Cookie: k=v")
    head, _, body = answer.partition("\n\n")
    assert (0, "HTTP/1.1 200 OK") == (code, head.splitlines()[0])
    seen = json.loads(body)
    assert ("GET", "/echo/x", "a=b", "k=v") == (seen["method"], seen["path"], seen["query"], seen["cookie"])
    code, answer = run("example.test/empty")
    assert (0, "HTTP/1.1 200 OK") == (code, answer.splitlines()[0])
    code, answer = run("example.test/echo", "-X", "POST", "-d", "hello", "-H", "Content-Length: 5")
    assert (0, "POST") == (code, json.loads(answer.partition("\n\n")[2])["method"])
    code, answer = run("example.test/redirect")
    assert (1, "HTTP/1.1 302 Found") == (code, answer.splitlines()[0])
    if kind != "uwsgi wsgi":
        code, answer = run("example.test/raise")
        assert (1, "HTTP/1.1 500 Internal Server Error") == (code, answer.splitlines()[0])
