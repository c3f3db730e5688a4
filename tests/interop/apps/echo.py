"""Says what it was asked, as WSGI and as ASGI, for tests of what arrives: method, path, host and the body's length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application as WSGI has it. A "?" stands for no Host header."""
    count = len(environ["wsgi.input"].read())
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    answer = f"{environ['REQUEST_METHOD']} {path} {environ.get('HTTP_HOST', '?')} {count}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


async def asgi(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """The application as ASGI has it; it has no lifespan."""
    assert scope["type"] == "http"
    count, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        count += len(message["body"])
        more = message["more_body"]
    host = dict(scope["headers"]).get(b"host", b"?").decode("latin-1")
    answer = f"{scope['method']} {scope['path']} {host} {count}".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
