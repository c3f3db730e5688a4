"""A WSGI generator that waits for a socket and for time by `yield`, as under uWSGI's async modes.

Shows      wait_fd_read with a timeout, the key in the environ that says how a wait ended, and async_sleep.
Try it     python examples/wsgi_generator.py
           curl -N http://127.0.0.1:8000/
Leaves out a real backend: a pair of sockets in this process takes its place, and answers only once.
"""

import socket
from collections.abc import Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi


def ask(backend: socket.socket, environ: WSGIEnvironment) -> Iterator[bytes]:
    """Wait at most a second for an answer. The thread waits in Trio, so a time limit (harakiri) can cancel it."""
    yield uwsgi.wait_fd_read(backend.fileno(), 1)
    if environ["x-wsgiorg.fdevent.timeout"]:
        yield b"no answer\n"
    else:
        yield b"answer: " + backend.recv(100) + b"\n"


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Ask two backends, with a pause between them."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    near, far = socket.socketpair()
    with near, far:
        far.send(b"hello")
        yield from ask(near, environ)
        yield uwsgi.async_sleep(0.5)
        yield from ask(near, environ)


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app)
