"""The spooler: jobs that run later, and survive a crash of the server.

Shows      functions whose calls are queued as files in ./spooled: with arguments, at a given time, or with a body;
           retries; a list of the jobs that wait.
Try it     python examples/spooler.py
           curl -d 'ada@example.com' http://127.0.0.1:8000/invoice
           curl --data-binary @README.md http://127.0.0.1:8000/picture
           curl http://127.0.0.1:8000/
           trio-uwsgi spool ls spooled
           Kill the server with `kill -9` while jobs wait, and start it again: no job is lost.
Leaves out several directories, a uWSGI that shares a directory, and pickled arguments.
"""

import itertools
import time
from typing import Any

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

config = trio_uwsgi.Config(spooler="spooled", spooler_harakiri=60, spooler_max_tries=5)
done: list[str] = []
numbers = itertools.count(1)


@uwsgi.spool_handler(pass_arguments=True)
async def send_invoice(address: str, *, number: int) -> None:
    """Called with the arguments that `spool` was given. If it raises, the job is retried after a growing pause."""
    await trio.sleep(0.1)
    done.append(f"invoice {number} sent to {address}")


@uwsgi.spool_handler
def shrink(job: uwsgi.Job) -> int:
    """Called with the job. It is not async, so it runs in a thread."""
    done.append(f"picture of {len(job.body)} bytes, called {job['name']}, try {job.tries}")
    return uwsgi.SPOOL_OK


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """POST queues a job, and answers when it is on the disk; GET shows what was done."""
    if scope["type"] != "http":
        raise NotImplementedError("this application has no lifespan")
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    if scope["path"] == "/invoice":
        await send_invoice.spool(body.decode(), number=next(numbers), at=time.time() + 1)
    elif scope["path"] == "/picture":
        await shrink.spool(name="holiday", body=body, priority=1)
    text = "\n".join(done) if scope["method"] == "GET" else "queued"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode() + b"\n"})


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
