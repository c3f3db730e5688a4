"""Harakiri: a time limit. A request that exceeds it is cancelled; all other requests continue.

Shows      a limit for all requests (2 s), a shorter one for one request, and one for a part of a request; in async code
           and in a WSGI application, whose threads can be cancelled only where they wait for Trio.
Try it     python examples/harakiri.py                    or: python examples/harakiri.py wsgi
           curl -i http://127.0.0.1:8000/wait               504 after 2 s; the log names the line that waited
           curl -i http://127.0.0.1:8000/own                504 after 0.5 s
           curl -i http://127.0.0.1:8000/part               504 after 1 s
           curl -i http://127.0.0.1:8000/                   200
           curl -i http://127.0.0.1:8000/stuck              wsgi: 504; its thread sleeps on, and is counted
Leaves out handlers and messages, which `Config(harakiri=...)` and `Config(mule_harakiri=...)` limit in the same way.
"""

import sys
import time
from wsgiref.types import StartResponse, WSGIEnvironment

import trio
from starlette.types import Receive, Scope, Send

import trio_uwsgi
from trio_uwsgi import uwsgi

config = trio_uwsgi.Config(harakiri=2, threads=4, lifespan="off")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The paths above, as an ASGI application."""
    if scope["path"] == "/wait":
        await trio.sleep(10)
    elif scope["path"] == "/own":
        uwsgi.set_user_harakiri(0.5)
        await trio.sleep(10)
    elif scope["path"] == "/part":
        with uwsgi.harakiri(1):
            await trio.sleep(10)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in time\n"})


def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """The same, and /stuck, as a WSGI application."""
    if environ["PATH_INFO"] == "/wait":
        trio.from_thread.run(trio.sleep, 10)
    elif environ["PATH_INFO"] == "/own":
        uwsgi.set_user_harakiri(0.5)
        trio.from_thread.run(trio.sleep, 10)
    elif environ["PATH_INFO"] == "/part":
        with uwsgi.harakiri(1):
            trio.from_thread.run(trio.sleep, 10)
    elif environ["PATH_INFO"] == "/stuck":
        time.sleep(10)  # a thread that does not wait for Trio cannot be cancelled
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"in time\n"]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, wsgi_app if sys.argv[1:] == ["wsgi"] else app, config)
