"""A WSGI application with a version number, for try_it.py beside it.

Shows      workers that are processes; each answers with the version of the code that it has imported.
Try it     trio-uwsgi examples/reloading/app.py
           curl http://127.0.0.1:8000/
           Change VERSION, and: kill -HUP PID               PID is in the last line of the log's start
           trio-uwsgi examples/reloading/app.py --reload    reloads by itself; pip install 'trio-uwsgi[reload]'
Leaves out requests that take longer than `mercy`, which are cancelled during a reload.
"""

import json
import os
import time
from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

VERSION = 1

config = trio_uwsgi.Config(workers=2, placement="process", mercy=10)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer after a short pause, so that a reload meets requests that are running."""
    time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"version": VERSION, "worker": uwsgi.worker_id(), "pid": os.getpid()}).encode()]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
