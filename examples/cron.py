"""Crons: handlers that run at wall-clock times.

Shows      uWSGI's five numbers (minute, hour, day, month, day of the week), where -1 is "every" and -n is "every nth";
           a crontab line; the time zone; when a cron is due next.
Try it     python examples/cron.py
           curl http://127.0.0.1:8000/
Leaves out several machines: each machine that runs this program runs its crons.
"""

import datetime
from wsgiref.types import StartResponse, WSGIEnvironment

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi

config = trio_uwsgi.Config(timezone="Europe/Rome")
runs: list[str] = []


@uwsgi.cron(-15, -1, -1, -1, -1)
async def quarter(signum: int) -> None:
    """Runs every hour at minutes 0, 15, 30 and 45."""
    runs.append("quarter")


@uwsgi.cron("0 3 * * 1")
def monday(signum: int) -> None:
    """Runs on Mondays at 03:00, exactly once also when the clocks change in that night."""
    runs.append("monday")


@uwsgi.signal_handler(17)
async def christmas(signum: int) -> None:
    """A handler of signal 17. `add_cron` below raises that signal, and returns a handle."""
    runs.append("christmas")


handle = uwsgi.add_cron(17, 0, 8, 25, 12, -1)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Show which crons ran, and when the next Christmas is due."""
    assert handle.due is not None  # it is known while the server runs
    due = datetime.datetime.fromtimestamp(handle.due, datetime.UTC)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"ran: {', '.join(runs) or 'nothing yet'}\nchristmas: {due:%Y-%m-%d %H:%M} UTC\n".encode()]


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
