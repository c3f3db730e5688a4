"""A Trio program that runs a web server next to tasks of its own, and talks to it.

Shows      `nursery.start(trio_uwsgi.serve, ...)`; signals, messages and statistics from outside of the members; POSIX
           signals, which stay the program's own; and a stop in order: first the server, then what it depends on.
Try it     python examples/embedding/embedding.py
           curl http://127.0.0.1:8000/                      what the server has counted
           nc 127.0.0.1 8001                                the program's own console; type one of
               signal                                       raise signal 17, which a worker handles
               message hello                                send a message to the mule
               statistics                                   what all members have done
               stop                                         stop the program; so do Ctrl+C and SIGTERM
           python examples/embedding/embedding.py 127.0.0.1:8080 8081       other addresses; port 0 is any free port
Leaves out processes: with `Config(placement="process")` the server can be reloaded with `runtime.reload()`, and each
           member has its own `counts`.
"""

import collections
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

import trio_uwsgi
from trio_uwsgi import uwsgi
from trio_uwsgi.errors import UwsgiError

counts: collections.Counter[str] = collections.Counter()


@uwsgi.signal_handler(17)
async def signalled(signum: int) -> None:
    counts["signals"] += 1


@uwsgi.mule_message_handler
async def handle(message: bytes) -> None:
    counts["messages"] += 1


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application that is served. Members are tasks here, so it shares `counts` with the rest of the program."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{dict(counts)}\n".encode()})


def execute(runtime: trio_uwsgi.Runtime, line: str) -> str:
    """One line of the console, and the answer to it."""
    command, _, argument = line.strip().partition(" ")
    if command == "signal":
        runtime.signal(17)
    elif command == "message":
        runtime.mule_msg(argument)
    elif command == "stop":
        runtime.stop()
    elif command == "statistics":
        members = runtime.statistics().members
        return "\n".join(f"{member.name} {member.state}, {member.done} done" for member in members)
    else:
        return "type signal, message TEXT, statistics or stop"
    return "ok"


async def console(runtime: trio_uwsgi.Runtime, stream: trio.SocketStream) -> None:
    """One client of the console. An error of the server is an answer; it does not end the program."""
    try:
        async for line in lines(stream):
            try:
                answer = execute(runtime, line)
            except UwsgiError as error:  # a queue is full, for example
                answer = str(error)
            await stream.send_all(f"{answer}\n".encode())
    except trio.BrokenResourceError:
        pass  # the client has disconnected


async def lines(stream: trio.SocketStream) -> AsyncIterator[str]:
    buffer = b""
    async for piece in stream:
        *complete, buffer = (buffer + piece).split(b"\n")
        for line in complete:
            yield line.decode(errors="replace")


async def stop_on_signal(runtime: trio_uwsgi.Runtime, *, task_status: trio.TaskStatus[None]) -> None:
    """SIGINT and SIGTERM stop the program: the first one gracefully, the second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for _ in received:
            if runtime.stopping:
                raise SystemExit("stopped at once")
            runtime.stop()


@asynccontextmanager
async def database() -> AsyncIterator[None]:
    """Stands for whatever requests need until the last of them is answered."""
    print("database opened")
    yield
    print("database closed")


async def main(*addresses: str) -> None:
    http, console_port = addresses or ("127.0.0.1:8000", "8001")
    config = trio_uwsgi.Config(http=http, mules=1, mercy=10)
    async with database(), trio.open_nursery() as own:
        async with trio.open_nursery() as nursery:
            runtime = await nursery.start(trio_uwsgi.serve, app, config)  # returns when all members serve
            await own.start(partial(stop_on_signal, runtime))
            listeners = await own.start(
                partial(trio.serve_tcp, partial(console, runtime), int(console_port), host="127.0.0.1")
            )
            print(f"http on {runtime.addresses[0]}, console on 127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        print("server stopped")  # all of its requests, signals and messages are done, or were cancelled after `mercy`
        own.cancel_scope.cancel()  # now the tasks of the program itself


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
