"""A chat: a Starlette application whose messages reach all browsers, whichever worker they are connected to.

Shows      a cache with a store, so that messages survive a restart; a signal to all workers, which wakes the streams of
           each; a lock; server-sent events; a job that sends the transcript, and is retried if that fails.
Try it     pip install starlette
           trio-uwsgi examples/chat/chat.py
           Open http://127.0.0.1:8000/ in two windows, or:
           curl -N http://127.0.0.1:8000/messages
           curl -d '{"name": "Ada", "text": "hello"}' http://127.0.0.1:8000/messages
           curl -d '{"to": "ada@example.com"}' http://127.0.0.1:8000/transcript
           ls var/outbox
           trio-uwsgi examples/chat/chat.py --processes 2       the same, with two worker processes
Leaves out users, rooms and a mail server: the "outbox" is a folder. All files are in ./var of the working directory.
"""

import contextlib
import json
import os
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import trio_uwsgi
from trio_uwsgi import Cache, uwsgi
from trio_uwsgi.errors import SignalQueueFull

KEPT = 1000  # messages
VAR = Path("var")
(VAR / "outbox").mkdir(parents=True, exist_ok=True)

config = trio_uwsgi.Config(
    workers=2,
    # One item for each message, and "last", the number of the newest one.
    caches=[Cache("chat", items=KEPT + 1, max_value=16_384, store=str(VAR / "chat.cache"))],
    spooler=str(VAR / "spool"),
    max_body=2_000,
    mercy=2,  # streams do not end by themselves, so a stop cancels them after two seconds; browsers connect again
)


class Bell:
    """Wakes the streams of one process. The messages themselves are in the cache, which all processes share."""

    def __init__(self) -> None:
        self.next_ring = trio.Event()

    def ring(self) -> None:
        self.next_ring.set()
        self.next_ring = trio.Event()


bell = Bell()


@uwsgi.signal_handler(target="workers")
async def message_stored(signum: int) -> None:
    """Runs in every worker after a message was stored, by whichever worker."""
    bell.ring()


async def store(message: str) -> int:
    """Store a message under the next number. The lock makes all processes store one message at a time."""
    async with uwsgi.locked():
        number = await uwsgi.cache_num("last") + 1
        await uwsgi.cache_del(str(number - KEPT))
        await uwsgi.cache_update(str(number), message)
        await uwsgi.cache_inc("last")  # last, so that a process that is killed before this leaves nothing half done
    with contextlib.suppress(SignalQueueFull):  # streams also look every 15 seconds
        uwsgi.signal(message_stored.signum)
    return number


async def stored_after(number: int) -> list[tuple[int, str]]:
    """The numbers and texts of all messages that are newer than this one."""
    last = await uwsgi.cache_num("last")
    numbers = range(max(number, last - KEPT) + 1, last + 1)
    return [(n, found.decode()) for n in numbers if (found := await uwsgi.cache_get(str(n))) is not None]


async def events(last_seen: int) -> AsyncIterator[str]:
    """Server-sent events, one for each message after this number, without end."""
    yield "retry: 1000\n\n"  # milliseconds after which a browser that lost its connection connects again
    while True:
        next_ring = bell.next_ring  # taken before the cache is read, so that no message is missed
        for number, message in await stored_after(last_seen):
            last_seen = number
            yield f"id: {number}\ndata: {message}\n\n"
        with trio.move_on_after(15) as waited:
            await next_ring.wait()
        if waited.cancelled_caught:
            yield ": a comment, which keeps proxies from closing the connection\n\n"


@uwsgi.spool_handler(pass_arguments=True)
async def send_transcript(to: str, last: int) -> None:
    """Runs in the spooler. If it raises, the job is retried after a pause."""
    mail = EmailMessage()
    mail["To"], mail["Subject"] = to, f"Transcript up to message {last}"
    messages = [json.loads(message) for number, message in await stored_after(0) if number <= last]
    mail.set_content("".join(f"{message['name']}: {message['text']}\n" for message in messages))
    name = f"{last}-{''.join(letter if letter.isalnum() else '_' for letter in to)}.eml"
    (VAR / f"{name}.part").write_bytes(bytes(mail))  # a job may run twice after a crash: it replaces the same file
    os.replace(VAR / f"{name}.part", VAR / "outbox" / name)


async def fields(request: Request, *names: str) -> list[str]:
    """The texts of these names in the JSON of a request; without them it is answered 400."""
    try:
        body = await request.json()
        return [str(body[name]) for name in names]
    except (ValueError, LookupError, TypeError):
        raise HTTPException(400, f"send a JSON object with {' and '.join(names)}\n") from None


async def show_page(request: Request) -> Response:
    return FileResponse(Path(__file__).with_name("page.html"))


async def read_messages(request: Request) -> Response:
    """All messages, then each new one. A browser that connects again sends the number of its last message."""
    number = request.headers.get("last-event-id", "")
    return StreamingResponse(events(int(number) if number.isdecimal() else 0), media_type="text/event-stream")


async def write_message(request: Request) -> Response:
    name, text = await fields(request, "name", "text")
    return JSONResponse({"number": await store(json.dumps({"name": name, "text": text}))}, 201)


async def ask_for_transcript(request: Request) -> Response:
    """Answers when the job is on the disk; the spooler runs it afterwards."""
    (to,) = await fields(request, "to")
    await send_transcript.spool(to, await uwsgi.cache_num("last"))
    return JSONResponse({"queued": True}, 202)


app = Starlette(
    routes=[
        Route("/", show_page),
        Route("/messages", read_messages),
        Route("/messages", write_message, methods=["POST"]),
        Route("/transcript", ask_for_transcript, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
