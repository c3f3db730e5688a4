"""Measures the codec: a request head in, a response out. Prints a table of microseconds, the best of five runs.

    python benchmarks/wire.py

It leaves out sockets, the application and Trio. The goals are those that the server was planned with.
"""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

from trio_uwsgi._http.http1 import RequestParser, Response
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMAL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BROWSER = (
    b"GET /path/to/page?x=1&y=2 HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8000\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Connection: keep-alive\r\n"
    b"Cookie: session=abcdef0123456789; theme=dark\r\n"
    b"Referer: http://127.0.0.1:8000/\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"Cache-Control: max-age=0\r\n\r\n"
)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n%b\r\n" % (b"x" * 1000) * 10
CHUNKED += b"0\r\n\r\n"
DATE = b"Sun, 22 Nov 2026 10:00:00 GMT"
HEADERS = [(b"content-type", b"text/plain"), (b"x-request-id", b"12345")]
BASE: dict[str, object] = {
    "wsgi.version": (1, 0),
    "wsgi.errors": None,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
}
BASE |= {"wsgi.run_once": False, "wsgi.file_wrapper": None, "SCRIPT_NAME": ""}


def best(work: Callable[[], object]) -> float:
    """Microseconds of one call of `work`."""
    number = 20_000
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def respond(parser: RequestParser) -> Callable[[], object]:
    """Make the work of answering one request with two headers and five bytes."""
    request = parser.feed(MINIMAL)[0]

    def work() -> bytes:
        response = Response(request)
        response.start(200, HEADERS)
        return response.data(b"hello", False, DATE)

    return work


def main() -> None:
    """Measure everything and print the table."""
    parser = RequestParser(Limits(max_header_size=65536, max_headers=100, max_body=0))
    peer = Peer(client=("127.0.0.1", 50000), server=("127.0.0.1", 8000), scheme="http")
    minimal = parser.feed(MINIMAL)[0]
    browser = parser.feed(BROWSER)[0]
    state: dict[str, object] = {}
    pipelined = MINIMAL * 16
    rows: list[tuple[str, float, Callable[[], object]]] = [
        ("parse, minimal head", 5, lambda: parser.feed(MINIMAL)),
        ("parse, browser head", 10, lambda: parser.feed(BROWSER)),
        ("parse, 16 pipelined", 80, lambda: parser.feed(pipelined)),
        ("parse, 10 chunks of 1000 bytes", 40, lambda: parser.feed(CHUNKED)),
        ("scope", 1, lambda: browser.asgi_scope(peer, state)),
        ("environ, minimal head", 2.5, lambda: minimal.wsgi_environ(peer, BASE)),
        ("environ, browser head", 5, lambda: browser.wsgi_environ(peer, BASE)),
        ("response, two headers", 2.5, respond(parser)),
    ]
    print(f"{'work':32} {'us':>7} {'goal':>7}")
    for name, goal, work in rows:
        print(f"{name:32} {best(work):7.2f} {goal:7.1f}")


if __name__ == "__main__":
    main()
