"""uwsgi signals: numbers that a request, a timer or a mule raises, and a worker or mule handles.

Shows      handlers with a number, with a target, or with neither; `async def` handlers, which are tasks; `def`
           handlers, which run in threads; a timer, one that ends after three ticks, and a request that raises a signal.
Try it     python examples/signals_and_timers.py
           curl http://127.0.0.1:8000/
           curl -X POST http://127.0.0.1:8000/
Leaves out wall-clock times (cron.py), and handles of timers: `uwsgi.add_timer` returns one, which can be cancelled.
"""

import collections
from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

config = trio_uwsgi.Config(workers=2, mules=1)
runs: collections.Counter[str] = collections.Counter()


@uwsgi.signal_handler(17)  # any worker: the least busy one
async def refresh(signum: int) -> None:
    """Runs when the timer below fires, and at every POST request."""
    await trio.sleep(0.1)
    runs["refresh"] += 1


uwsgi.add_timer(17, 60)


@uwsgi.timer(10, target="mule1")  # takes a free signal; `heartbeat.signum` is its number
def heartbeat(signum: int) -> None:
    """Not async, so it runs in a thread of the mule."""
    runs["heartbeat"] += 1


@uwsgi.rbtimer(1, iterations=3, target="workers")
async def warm_up(signum: int) -> None:
    """Runs three times in every worker."""
    runs[f"warm up of worker {uwsgi.worker_id()}"] += 1


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """GET shows how often each handler ran; POST raises signal 17, and does not wait for its handler."""
    if environ["REQUEST_METHOD"] == "POST":
        uwsgi.signal(17)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{name}: {count}\n".encode() for name, count in sorted(runs.items())]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
