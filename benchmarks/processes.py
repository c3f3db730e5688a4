"""Measures what one process per member costs: the time to start one again, and its own memory.

    python benchmarks/processes.py [rounds]

The application is `examples/hello_flask.py`. A member counts as started when its `main` runs with a Trio loop;
serving is measured elsewhere. Memory is PSS: memory that several processes share is divided among them.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import trio

from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._process.zygote import application
from trio_uwsgi._process.zygote_control import Child, Plan, open_zygote

ROOT = Path(__file__).parents[1]
MAIN = "processes:member"


def member(descriptors: list[int], setup: Any) -> None:
    """Report that it runs, answer each byte by calling the application that many times, and end with the master."""
    trio.run(_member, descriptors[0])


async def _member(ctl: int) -> None:
    app = application()
    async with trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=ctl))) as stream:
        await stream.send_all(b"!")
        async for _ in stream:
            for _ in range(2000):
                _request(app)
            await stream.send_all(b"!")


def _request(app: Any) -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    b"".join(app(environ, lambda status, headers: None))


def pss(pid: int) -> float:
    """The proportional share of memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no Pss of process {pid}")


async def respawns(rounds: int, lazy: bool) -> None:
    """Kill and fork again, this number of times."""
    app = AppReference("name", f"{ROOT}/examples/hello_flask.py:app")
    began = time.perf_counter()
    async with open_zygote(Plan(app=app, main=MAIN, lazy=lazy)) as zygote:
        print(f"{'fresh' if lazy else 'forked'}: zygote ready in {1000 * (time.perf_counter() - began):.0f} ms")
        forked, running, seen = [], [], []
        for _ in range(rounds):
            began = time.perf_counter()
            async with await zygote.fork("worker1") as child:
                forked.append(time.perf_counter() - began)
                await child.ctl.receive_some(1)
                running.append(time.perf_counter() - began)
                began = time.perf_counter()
                child.kill()
                await child.wait()
                seen.append(time.perf_counter() - began)
        for name, times in (("fork() returns", forked), ("main runs", running), ("kill to status", seen)):
            print(f"  {name:15} median {1000 * statistics.median(times):6.1f} ms   max {1000 * max(times):6.1f} ms")


async def memory(lazy: bool) -> None:
    """One member, and four, before and after load."""
    app = AppReference("name", f"{ROOT}/examples/hello_flask.py:app")
    for count in (1, 4):
        async with open_zygote(Plan(app=app, main=MAIN, lazy=lazy)) as zygote, contextlib.AsyncExitStack() as stack:
            children: list[Child] = []
            for number in range(count):
                children.append(await stack.enter_async_context(await zygote.fork(f"worker{number}")))
                await children[-1].ctl.receive_some(1)
            for state in ("idle", "after load"):
                each = [pss(child.pid) for child in children]
                print(
                    f"  {count} x {state:10}  members {sum(each):6.1f} MiB ({sum(each) / count:.1f} each), "
                    f"zygote {pss(zygote.pid):.1f}, master {pss(os.getpid()):.1f}"
                )
                for child in children:
                    await child.ctl.send_all(b"?")
                    await child.ctl.receive_some(1)


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for lazy in (False, True):
        trio.run(respawns, rounds, lazy)
        trio.run(memory, lazy)
