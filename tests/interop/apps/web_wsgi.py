"""A WSGI application with the pages that the tests of front servers ask for; it runs in a real uWSGI and in ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any  # of environ's values, and of what start_response returns
from urllib.parse import parse_qs

PIECE = bytes(range(256)) * 256
ended = 0


def endless() -> Iterator[bytes]:
    """Send until the client is gone, and count that it is."""
    global ended
    try:
        while True:
            yield PIECE
    finally:
        ended += 1


def pieces(size: int) -> Iterator[bytes]:
    """So many bytes, one piece after the other."""
    while size > 0:
        yield PIECE[:size]
        size -= len(PIECE)


def cut() -> Iterator[bytes]:
    """Fail in the middle."""
    yield PIECE
    raise RuntimeError("on purpose")


def echo(environ: dict[str, Any]) -> bytes:
    """What arrived, as JSON."""
    stream, count, digest = environ["wsgi.input"], 0, hashlib.sha256()
    while data := stream.read(65536):
        count += len(data)
        digest.update(data)
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": (environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]).encode("latin-1").decode(),
        "query": environ["QUERY_STRING"],
        "cookie": environ.get("HTTP_COOKIE"),
        "test": environ.get("HTTP_X_TEST"),
        "type": environ.get("CONTENT_TYPE") or None,
        "scheme": environ["wsgi.url_scheme"],
        "client": environ.get("REMOTE_ADDR"),
        "count": count,
        "sha256": digest.hexdigest(),
    }
    return json.dumps(seen).encode()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve the page that the path begins with."""
    page = environ["PATH_INFO"].split("/")[1]
    plain = [("Content-Type", "text/plain")]
    if page == "raise":
        raise RuntimeError("on purpose")
    if page == "empty":
        start_response("200 OK", [*plain, ("Content-Length", "0")])
        return []
    if page == "redirect":
        start_response("302 Found", [*plain, ("Location", "/echo"), ("Content-Length", "0")])
        return []
    if page == "cookies":
        start_response(
            "200 OK", [*plain, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/"), ("Content-Length", "2")]
        )
        return [b"ok"]
    if page == "endless":
        start_response("200 OK", plain)
        return endless()
    if page == "cut":
        length = [("Content-Length", str(2 * len(PIECE)))] if environ["QUERY_STRING"] == "length" else []
        start_response("200 OK", [*plain, *length])
        return cut()
    if page == "down":
        start_response("200 OK", plain)
        return pieces(int(parse_qs(environ["QUERY_STRING"])["size"][0]))
    body = b"%d" % ended if page == "ended" else echo(environ)
    start_response("200 OK", [*plain, ("Content-Length", str(len(body)))])
    return [body]
