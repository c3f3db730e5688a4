"""What a zygote's children run in tests: functions for a `Plan`, and an object in place of an application."""

from __future__ import annotations

import atexit
import collections
import itertools
import json
import os
import socket
import sys
import time
from typing import Any

import trio
import trio._core._run

from trio_uwsgi._process.app_name import AppReference, reference_of, refuse_to_serve_twice
from trio_uwsgi._process.zygote import application
from trio_uwsgi._process.zygote_control import Plan, open_zygote

prepared: list[Any] = []
imported_in = os.getpid()


def app() -> str:
    """The application."""
    return "the application"


def prepare(setup: Any) -> None:
    """Remember what the zygote was given."""
    prepared.append(setup)


def describe(found: Any) -> bytes:
    """Describe what was imported, and what was called before."""
    return json.dumps([found.__name__, prepared]).encode()


def open_files() -> dict[str, str]:
    """The open files of this process, by number, without that of the listing."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def tell(descriptors: list[int], setup: Any) -> None:
    """Send one line about this process, wait for the end of `ctl`, and end with the exit code in the setup."""
    setup = setup or {}
    facts = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "setup": setup,
        "descriptors": descriptors,
        "files": open_files(),
        "inheritable": [fd for fd in descriptors if os.get_inheritable(fd)],
        "app": application()(),
        "imported_in": imported_in,
        "random": trio._core._run._r.random(),
        "argv": sys.argv,
        "idna": "encodings.idna" in sys.modules,
    }
    if "numpy" in setup:
        facts["numpy"] = sys.modules["numpy.random"].seeded
    if "at_exit" in setup:
        atexit.register(os.write, 1, setup["at_exit"].encode())
    if "said" in setup:
        print(setup["said"])
    trio.run(_tell, descriptors[0], json.dumps(facts).encode() + b"\n")
    raise SystemExit(setup.get("exit"))


async def _tell(ctl: int, line: bytes) -> None:
    async with trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=ctl))) as stream:
        await stream.send_all(line)
        async for _ in stream:
            pass


def be_stuck(descriptors: list[int], setup: Any) -> None:
    """Send a line, and then get stuck, in one of several ways."""
    os.write(descriptors[0], b"stuck\n")
    trio.run(_be_stuck, descriptors[0], setup)


async def _be_stuck(ctl: int, how: str) -> None:
    if how == "idle":
        await trio.lowlevel.wait_readable(ctl)
        return
    if how == "busy":
        while True:
            pass
    if how == "sleep":
        time.sleep(1000)  # noqa: ASYNC251  # that is the point
    if how == "gil":
        collections.deque(itertools.repeat(0), maxlen=0)  # for ever, in C, without looking at signals
    await trio.sleep_forever()


def fail(descriptors: list[int], setup: Any) -> None:
    """Raise an exception."""
    if setup == "base":
        raise BaseExceptionGroup("several", [KeyboardInterrupt()])
    if setup == "words":
        sys.exit("these are my last words")
    raise ValueError("this member fails")


def leave_someone_behind(descriptors: list[int], setup: Any) -> None:
    """Start a process without waiting for it, send its pid, and end."""
    pid = os.fork()
    if pid == 0:
        os.close(descriptors[0])
        time.sleep(10)
        os._exit(0)
    os.write(descriptors[0], f"{pid}\n".encode())


async def serve(found: Any) -> None:
    """In place of `trio_uwsgi.serve`: have another process import the application, and print what that returns."""
    refuse_to_serve_twice(found)
    reference = reference_of(found)
    async with (
        open_zygote(Plan(app=reference, main="tests.real.zygote_members:call")) as zygote,
        await zygote.fork("worker1") as child,
    ):
        print(reference.how, (await child.ctl.receive_some()).decode())


def call(descriptors: list[int], setup: Any) -> None:
    """Call the application, and send what it returns."""
    os.write(descriptors[0], application()().encode())


async def be_master(how: list[str], lazy: bool) -> None:
    """Run as a master with such children: print their pids, and then sleep until killed."""
    app = AppReference("object", "tests.real.zygote_members", "app")
    async with open_zygote(Plan(app=app, main="tests.real.zygote_members:be_stuck", lazy=lazy)) as zygote:
        children = [await zygote.fork(f"worker{number}", one) for number, one in enumerate(how)]
        for child in children:
            await child.ctl.receive_some()
        print(json.dumps([zygote.pid, *(child.pid for child in children)]), flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(be_master, sys.argv[2:], sys.argv[1] == "lazy")
