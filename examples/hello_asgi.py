"""The smallest ASGI application, served over HTTP as a Trio task per request.

Shows      an ASGI 3 callable, `serve`, and the address to listen on: a port or a unix socket.
Try it     python examples/hello_asgi.py
           curl http://127.0.0.1:8000/
           python examples/hello_asgi.py ./hello.sock
           curl --unix-socket ./hello.sock http://localhost/
           trio-uwsgi examples/hello_asgi.py --http :8080 --harakiri 30
Leaves out everything that is not HTTP; see signals_and_timers.py.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import trio_uwsgi

# What is in an ASGI message or scope depends on its type.
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer every request with a greeting."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # tells the server that this application has no lifespan
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello from ASGI\n"})


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, trio_uwsgi.Config(http=sys.argv[1:] or "127.0.0.1:8000"))
