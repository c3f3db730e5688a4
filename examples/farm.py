"""A farm, which is a named group of mules that share its messages; and a pool of mules that grows and shrinks.

Shows      a function that handles a farm's messages, a pool of mules, and a message that is delivered a second time
           because a mule died while it handled it.
Try it     python examples/farm.py
           for n in 1 2 3 4 5 6; do curl -d "photo $n" http://127.0.0.1:8000/; done
           curl http://127.0.0.1:8000/
Leaves out work that survives a restart (spooler.py): messages are in memory, and an immediate stop drops them.
"""

from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

# Mule 1 always runs. Mules 2 to 4 are started when the others are busy, and stopped after a minute without work.
config = trio_uwsgi.Config(mules=trio_uwsgi.Mules(min=1, max=4), farms={"images": [2, 3, 4]}, mule_harakiri=60)
done: list[str] = []


@uwsgi.farm("images")
async def resize(message: uwsgi.MuleMessage) -> None:
    """Runs in mules 2, 3 and 4, one message at a time in each."""
    if message.redelivered:  # a mule died while it handled this message; a real handler checks what was done
        done.append(f"{message.decode()} again")
    await trio.sleep(2)
    done.append(f"mule {uwsgi.mule_id()} resized {message.decode()}")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """POST sends the body to the farm, without waiting for it to be handled; GET shows what was done."""
    if environ["REQUEST_METHOD"] == "POST":
        uwsgi.farm_msg("images", environ["wsgi.input"].read())
        start_response("202 Accepted", [])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{line}\n".encode() for line in done]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
