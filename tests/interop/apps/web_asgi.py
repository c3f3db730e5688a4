"""The pages of `web_wsgi.py` as an ASGI application."""

from __future__ import annotations

import hashlib
import json
from typing import Any  # of scopes and events, and of what is awaited
from urllib.parse import parse_qs

PIECE = bytes(range(256)) * 256
ended = 0


async def respond(send: Any, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """A whole response."""
    head = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Any, size: int | None) -> None:
    """Send so many bytes, one piece after the other; None is until the client is gone, which is counted."""
    global ended
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    try:
        while size is None or size > 0:
            await send({"type": "http.response.body", "body": PIECE[:size], "more_body": True})
            size = None if size is None else size - len(PIECE)
        await send({"type": "http.response.body", "body": b""})
    finally:
        ended += size is None


async def cut(send: Any, *headers: tuple[bytes, bytes]) -> None:
    """Fail in the middle."""
    head = [(b"content-type", b"text/plain"), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    raise RuntimeError("on purpose")


async def echo(scope: dict[str, Any], receive: Any) -> bytes:
    """What arrived, as JSON."""
    count, digest, more = 0, hashlib.sha256(), True
    while more:
        event = await receive()
        count += len(event.get("body", b""))
        digest.update(event.get("body", b""))
        more = event.get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "cookie": headers.get("cookie"),
        "test": headers.get("x-test"),
        "type": headers.get("content-type") or None,
        "scheme": scope["scheme"],
        "client": scope["client"][0] if scope["client"] else None,
        "count": count,
        "sha256": digest.hexdigest(),
    }
    return json.dumps(seen).encode()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the page that the path begins with."""
    if scope["type"] != "http":
        raise NotImplementedError("this application has no lifespan")
    page = scope["path"].split("/")[1]
    if page == "raise":
        raise RuntimeError("on purpose")
    if page == "empty":
        await respond(send, b"")
    elif page == "redirect":
        await respond(send, b"", (b"location", b"/echo"), status=302)
    elif page == "cookies":
        await respond(send, b"ok", (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2; Path=/"))
    elif page == "endless":
        await stream(send, None)
    elif page == "cut":
        length = b"%d" % (2 * len(PIECE))
        await cut(send, *[(b"content-length", length)] * (scope["query_string"] == b"length"))
    elif page == "down":
        await stream(send, int(parse_qs(scope["query_string"].decode())["size"][0]))
    else:
        await respond(send, b"%d" % ended if page == "ended" else await echo(scope, receive))
