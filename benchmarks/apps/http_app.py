"""The applications that every contender of `serving.py` runs: ASGI and WSGI, with the same answers.

`/` is five bytes, `/big` 1 MiB, `/bytes?N` are N bytes, `/post` says how many came, and anything else is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any  # ASGI's arguments, and what a WSGI environ has

MIB = 1 << 20
BIG = b"x" * MIB
PART = 1 << 16  # bytes that a WSGI application reads at once


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    status, body = 200, b"Hello"
    if path == "/big":
        body = BIG
    elif path == "/bytes":
        body = bytes(int(scope["query_string"]))
    elif path == "/post":
        size, more = 0, True
        while more:
            event = await receive()
            size += len(event.get("body", b""))
            more = event.get("more_body", False)
        body = b"%d" % size
    elif path != "/":
        status, body = 404, b"Nothing"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    status, body = "200 OK", b"Hello"
    if path == "/big":
        body = BIG
    elif path == "/bytes":
        body = bytes(int(environ["QUERY_STRING"]))
    elif path == "/post":
        size, left = 0, int(environ.get("CONTENT_LENGTH") or 0)
        while left and (part := environ["wsgi.input"].read(min(left, PART))):
            size += len(part)
            left -= len(part)
        body = b"%d" % size
    elif path != "/":
        status, body = "404 Not Found", b"Nothing"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
