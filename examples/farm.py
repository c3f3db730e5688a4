"""A farm: a name for several mules, which share its work; and a pool, which has as many mules as there is work for.

Shows      a farm's function, a pool that grows and shrinks, and a job that may come a second time.
Try it     python examples/farm.py
           for n in 1 2 3 4 5 6; do curl -d "photo $n" http://127.0.0.1:8000/; done
           curl http://127.0.0.1:8000/
Leaves out jobs that survive a restart: these live in memory, and a hard stop drops what waits.
"""

from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

# Mule 1 is always there. Mules 2 to 4 start when the others have something to do, and leave after a minute of nothing.
config = trio_uwsgi.Config(mules=trio_uwsgi.Mules(min=1, max=4), farms={"images": [2, 3, 4]}, mule_harakiri=60)
done: list[str] = []


@uwsgi.farm("images")
async def resize(message: uwsgi.MuleMessage) -> None:
    """Runs in mules 2, 3 and 4, one message at a time in each."""
    if message.redelivered:  # a mule died while it had this one; look first what is there already
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
