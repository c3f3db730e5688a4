"""Mules: background members, which serve no requests and do work that no request should wait for.

Shows      a message handler (mule 1), a program that reads its messages itself (mule 2), and requests that send.
Try it     python examples/mule_messages.py
           curl -d 'hello' http://127.0.0.1:8000/handler
           curl -d 'hello' http://127.0.0.1:8000/program
           curl http://127.0.0.1:8000/
Leaves out work that survives a restart (spooler.py): messages are in memory, and an immediate stop drops them.
"""

from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

config = trio_uwsgi.Config(mules=2, mule_harakiri=60)
done: list[str] = []


@uwsgi.mule_message_handler
async def handle(message: bytes) -> None:
    """Runs in any mule whose program does not read messages itself, one message at a time."""
    await trio.sleep(1)
    done.append(f"mule {uwsgi.mule_id()} handled {message.decode()}")


@uwsgi.mule(2)
async def read() -> None:
    """Mule 2's program. If it raises, it is started again after 1, 2, 4, ... 60 seconds."""
    while True:
        message = await uwsgi.mule_get_msg(timeout=3600)
        if message is None:
            done.append("mule 2 had nothing to do for an hour")
        else:
            done.append(f"mule 2 read {message.decode()}")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """POST sends the body to mule 1 or 2, without waiting for it to be handled; GET shows what they did."""
    if environ["REQUEST_METHOD"] == "POST":
        mule = 2 if environ["PATH_INFO"] == "/program" else 1
        uwsgi.mule_msg(environ["wsgi.input"].read(), mule)
        start_response("202 Accepted", [])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{line}\n".encode() for line in done]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
