"""Runtimes whose members are processes, for tests: an application in a file, and helpers to query it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import trio

from trio_uwsgi import Config, Runtime, serve
from trio_uwsgi._process.app_name import AppReference
from trio_uwsgi._runtime.member_instance import second_name

ROOT = Path(__file__).parents[2]

# What every application of these tests begins with. A request for /name?a&b calls the function `name` of the module.
PRELUDE = """
import os, signal, sys, time, urllib.parse
from pathlib import Path
import trio
from trio_uwsgi import uwsgi

HERE = Path(__file__).parent

def me():
    if uwsgi.worker_id():
        return f"worker{uwsgi.worker_id()}"
    return f"mule{uwsgi.mule_id()}" if uwsgi.mule_id() else "spooler"

def note(what):
    with open(HERE / "log", "a", buffering=1) as log:
        log.write(f"{what} {me()} {os.getpid()}\\n")

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    words = urllib.parse.unquote(scope["query_string"].decode())
    answer = await globals()[scope["path"][1:]](*words.split("&") if words else ())
    body = str(answer).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})

async def pid():
    return f"{me()} {os.getpid()}"

async def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def send_signal(number):
    uwsgi.signal(int(number))

async def send_message(text, mule="0"):
    uwsgi.mule_msg(text, int(mule))
"""


class ProcessRuntime:
    """A runtime in the test's own run, whose members are processes."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        (self.address,) = runtime.addresses
        self.log = folder / "log"

    async def get(self, path: str) -> str:
        """The answer's body; "" if the connection ended without one."""
        return await get(self.address.port, path)

    async def pid(self, name: str) -> int:
        """The pid of a serving worker, as the application answers it."""
        for _ in range(200):
            who, number = (await self.get("/pid")).split()
            if who == name:
                return int(number)
        raise AssertionError(f"{name} does not answer")

    @property
    def pids(self) -> list[int]:
        """The pids of the workers on the scoreboard, one for each slot; 0 for none."""
        rows = self.runtime._tree.environment.shared
        assert rows is not None
        members = self.runtime.statistics().members
        names = [member.name for member in members if member.name.startswith("worker")]
        slots = [(rows.rows[name], rows.rows[second_name(name)]) for name in names]
        return [int(max(rows.scoreboard.rows[row].get("pid") for row in slot)) for slot in slots]

    def noted(self) -> list[list[str]]:
        """The lines that members wrote, split into words."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def said(self) -> list[str]:
        """The first word of each line that members wrote."""
        return [line[0] for line in self.noted()]

    def state(self, name: str) -> str:
        """The state of a slot, in the statistics."""
        return next(member.state for member in self.runtime.statistics().members if member.name == name)


async def get(port: int, path: str) -> str:
    """One request on its own connection; "" if that ended without a complete answer."""
    data = bytearray()
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            async for part in stream:
                data += part
    except (trio.BrokenResourceError, OSError):
        return ""
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    if not head:
        return ""
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(bytes(data))
    return dechunked(body).decode() if b"chunked" in head.lower() else body.decode()


def dechunked(body: bytes) -> bytes:
    """A body without its chunks' sizes."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until it holds."""
    deadline = trio.current_time() + seconds
    while not condition():
        assert trio.current_time() < deadline, "it did not come to that in time"
        await trio.sleep(0.01)


def write(folder: Path, source: str, name: str = "shop") -> AppReference:
    """Write an application into a file, and return its name; it is not imported here."""
    path = folder / f"{name}.py"
    path.write_text(PRELUDE + textwrap.dedent(source))
    return AppReference("name", f"{path}:app")


@contextlib.asynccontextmanager
async def process_runtime(
    folder: Path, source: str = "", **options: Any
) -> AsyncIterator[ProcessRuntime]:  # Any: each has its own type
    """Serve an application of this source; stopped gracefully at the end."""
    app = write(folder, source)
    config = Config(**{"http": "127.0.0.1:0", "placement": "process", "mercy": 5, **options})
    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(serve, app, config)
        yield ProcessRuntime(runtime, folder)
        runtime.stop()


# ----- a master in a process of its own


class Program:
    """A script that serves. `said` is its standard error, after its end."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.log = folder / "log"
        self._errors = folder / "errors"

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return self._errors.read_text()

    def wait_for(self, text: str, seconds: float = 20) -> str:
        """Wait until its standard error has this."""
        deadline = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None or text in self.said, self.said
            time.sleep(0.01)
        return self.said

    def end(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send it a posix signal, and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@contextlib.contextmanager
def program(folder: Path, source: str) -> Iterator[Program]:
    """Run a script in its own process."""
    script = folder / "script.py"
    script.write_text(PRELUDE + textwrap.dedent(source))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen([sys.executable, str(script)], stderr=errors, env=environment, cwd=folder)
    try:
        yield Program(process, folder)
    finally:
        process.kill()
        process.wait(60)


def children(pid: int | str = "self") -> list[int]:
    """The children of this process, also dead ones."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """The processes below this one."""
    below = children(pid)
    return below + [far for child in below for far in descendants(child)]


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
