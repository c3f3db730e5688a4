"""What `instructions.py` counts: `python -m benchmarks.counted asgi=20 inline=10` answers so many rounds of each kind.

The word `about` prints what the figures belong to.

A worker's HTTP, as a server runs it, with a listener on loopback, and its clients in the same thread: everything from
the bytes of a request to the bytes of its response is in the count. A client's part is small, and always the same.
What follows the clock or chance is fixed where it would change the count: no garbage collection, one order of tasks,
and as many requests in a batch as one `poll` returns.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import platform
import random
import socket
import sys
import tempfile
import time
from importlib.metadata import version

import trio

from benchmarks.apps.http_app import asgi_app, wsgi_app
from benchmarks.instructions import CLIENTS
from trio_uwsgi._apps.asgi import AsgiDriver
from trio_uwsgi._apps.wsgi_inline import InlineDriver
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._http.options import HttpOptions
from trio_uwsgi._http.reactor import serve_sockets
from trio_uwsgi._http.service import HttpService
from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._nodes.server import PacketDriver
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._system.build import how_built
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.heartbeat import Heartbeat
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.log_handler import set_up_logging
from trio_uwsgi._units.member import Member
from trio_uwsgi.config import Config
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.config.connections import HttpTimeouts, SocketOptions
from trio_uwsgi.config.options import AccessRules

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
# That of the command line.
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class SteadyClock(trio.abc.Clock):
    """A clock of Trio's that advances by a microsecond with each look, however slow the machine is.

    What yields to others after some milliseconds does so after the same number of requests in every run.
    """

    def __init__(self) -> None:
        self.look = itertools.count(0.0, 1e-6).__next__

    def start_clock(self) -> None:
        """See `trio.abc.Clock`."""

    def current_time(self) -> float:
        """See `trio.abc.Clock`."""
        return self.look()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See `trio.abc.Clock`."""
        return deadline - self.look()


def make_service(kind: str) -> HttpService:
    """The HTTP of a worker whose application answers five bytes."""
    member = Member("worker", 1, Registry(), LoggingJournal(), time.time)
    driver: AsgiDriver | InlineDriver = AsgiDriver(asgi_app, {})
    if kind == "inline":
        member.heartbeat = Heartbeat(Scoreboard.make(1, 1).rows[0])
        driver = InlineDriver(wsgi_app, multiprocess=True)
    options = HttpOptions(
        limits=Limits(max_header_size=32768, max_headers=100, max_body=0),
        timeouts=HttpTimeouts(header=15, keep_alive=75, socket=60),
        websocket=Config().websocket_options,
        access_log=kind == "log",
    )
    calls = Calls(member, 30)
    return HttpService(driver, PacketDriver(AccessRules.parse({}), calls), calls, options)


async def ask(clients: list[socket.socket], rounds: int) -> None:
    """Each client sends a request and gets its response, so many times."""
    for _ in range(rounds):
        for client in clients:
            client.sendall(REQUEST)
        for client in clients:
            answer = b""
            while not answer.endswith(b"Hello"):
                try:
                    answer += client.recv(4096)
                except BlockingIOError:
                    await trio.lowlevel.checkpoint()


async def answer(kind: str, rounds: int, folder: str) -> None:
    """Serve so many rounds of requests of this kind."""
    service = make_service(kind)
    path = os.path.join(folder, "socket")
    async with (
        open_listeners([Address.parse(path)], SocketOptions(backlog=64, mode=None)) as listeners,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(service.serve)
        await nursery.start(serve_sockets, service, listeners)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS)]
        for client in clients:
            client.connect(path)
            client.setblocking(False)
        with trio.fail_after(120):
            await ask(clients, rounds)
        for client in clients:
            client.close()
        nursery.cancel_scope.cancel()


def about() -> dict[str, str]:
    """What figures depend on: the interpreter, whether this package is compiled, and the packages it needs."""
    python = f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"
    return {
        "interpreter": f"{python}, {platform.machine()}, {how_built()}",
        "trio": version("trio"),
        "httptools": version("httptools"),
    }


def in_a_fork(kind: str, rounds: int) -> int:
    """Answer so many rounds in a process of its own, which has imported what this one has. Returns its process id."""
    pid = os.fork()
    if pid == 0:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(answer, kind, rounds, folder, clock=SteadyClock())
        sys.stderr.flush()
        os._exit(0)  # the end of the interpreter is no part of a request
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(f"the run of {kind} has failed")
    return pid


if __name__ == "__main__":
    gc.disable()
    trio._core._run._r = random.Random(0)  # Trio runs tasks of a batch in a random order
    with tempfile.TemporaryFile("w") as log:
        set_up_logging(logging.INFO, LOG_FORMAT, log)
        for word in sys.argv[1:]:
            kind, _, rounds = word.partition("=")
            print(f"{word} {in_a_fork(kind, int(rounds))}" if rounds else json.dumps(about()), flush=True)
