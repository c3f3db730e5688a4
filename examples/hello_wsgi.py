"""The smallest WSGI application, served over HTTP in worker threads.

Shows      a WSGI callable (PEP 3333) that handles up to four requests at once.
Try it     python examples/hello_wsgi.py
           curl http://127.0.0.1:8000/
           trio-uwsgi examples/hello_wsgi.py --threads 4
Leaves out time limits for threads; see harakiri.py.
"""

from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi

config = trio_uwsgi.Config(threads=4)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer every request with a greeting."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from WSGI\n"]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
