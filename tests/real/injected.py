"""A server in which one task or one callback of the package fails, once: for `test_injected_failures.py`.

What can fail is found by a rule, while it runs: every function of the package that is given to a nursery, to Trio's
thread by `run_sync_soon`, to a thread, or to a pool of threads as what is called when a job is done. The environment
says which one is to fail (INJECT), and where it is written down which there are (FOUND). A file says that it has
happened, so that it happens once in all processes together.
"""

from __future__ import annotations

import contextlib
import functools
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

import trio_uwsgi
from trio_uwsgi import Config, uwsgi
from trio_uwsgi._units.thread_pool import ThreadPool

INJECT = os.environ.get("INJECT", "")
FOUND = os.environ.get("FOUND", "")
DONE = Path("injected")

original_start_soon = trio.Nursery.start_soon


class Injected(Exception):
    """What a bug of the package would raise."""


def name_of(kind: str, function: Any) -> str:
    """The name of a function of the package, and how it is called; empty if it is not one."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    module = getattr(function, "__module__", None) or ""
    if not module.startswith("trio_uwsgi.") or module.startswith("trio_uwsgi._testing"):
        return ""
    name = f"{kind} {module}.{function.__qualname__}"
    if FOUND:
        with open(FOUND, "a") as file:
            file.write(f"{name}\n")
    return name


def happens(name: str) -> bool:
    """Is it this one's turn to fail? Once."""
    if name != INJECT or not name:
        return False
    with contextlib.suppress(FileExistsError):
        os.close(os.open("claimed", os.O_CREAT | os.O_EXCL))
        return True
    return False


async def fail_soon() -> None:
    """Beside a task: most wait for something that may take long."""
    await trio.sleep(0.05)
    raise Injected("a task fails where it waits")


async def broken(coroutine: Awaitable[Any]) -> Any:
    """A task that fails where it waits, or at its end; one that waits under a shield does neither."""
    try:
        async with trio.open_nursery() as nursery:
            original_start_soon(nursery, fail_soon)
            await coroutine
            raise Injected("a task fails at its end")
    finally:
        DONE.touch()


def task(function: Any) -> Any:
    """What a nursery is given."""
    name = name_of("task", function)
    if not name:
        return function

    async def run(*args: Any, **options: Any) -> Any:
        coroutine = function(*args, **options)
        return await (broken(coroutine) if happens(name) else coroutine)

    return run


def callback(kind: str, function: Any) -> Any:
    """What somebody calls later."""
    name = name_of(kind, function)
    if not name:
        return function

    def call(*args: Any) -> Any:
        if happens(name):
            DONE.touch()
            raise Injected("a callback fails")
        return function(*args)

    return call


def patched(owner: Any, attribute: str, change: Callable[[Any], Any], argument: int = 1) -> None:
    """Have an argument of a function changed before each call."""
    original = getattr(owner, attribute)

    def call(*args: Any, **options: Any) -> Any:
        listed = list(args)
        listed[argument] = change(listed[argument])
        return original(*listed, **options)

    setattr(owner, attribute, call)


def arm() -> None:
    """Let it fail in this process."""
    nursery = trio._core._run.Nursery
    patched(nursery, "start_soon", task)
    patched(nursery, "start", task)
    patched(trio.lowlevel.TrioToken, "run_sync_soon", lambda function: callback("callback", function))
    patched(trio.to_thread, "run_sync", lambda function: callback("thread", function), 0)
    original = ThreadPool.submit

    def submit(self: ThreadPool, func: Any, *args: Any, unit: Any, done: Any) -> Any:
        return original(self, func, *args, unit=unit, done=callback("done", done))

    ThreadPool.submit = submit  # type: ignore[method-assign, assignment]


arm()


# ----- the application, which uses everything


@uwsgi.timer(0.2, target="worker1")
def tick(signum: int) -> None:
    """A handler in a thread."""


@uwsgi.signal_handler(7, target="workers")
async def seven(signum: int) -> None:
    """A handler in a task."""
    await trio.lowlevel.checkpoint()


@uwsgi.mule_message_handler
async def handle(message: bytes) -> None:
    """A message."""


@uwsgi.spool_handler(pass_arguments=True)
async def work() -> None:
    """A job."""


@uwsgi.rpc_handler("ask")
def ask() -> bytes:
    """An RPC function, in a thread."""
    return b"answer"


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Use everything, and answer."""
    try:
        trio.from_thread.run(use)
    except Exception:  # which may be what fails
        traceback.print_exc()
    environ["wsgi.input"].read()
    start_response("200 OK", [("content-length", "2")])
    return [b"ok"]


async def use() -> None:
    """All that there is."""
    with trio.move_on_after(1):
        uwsgi.signal(7)
        uwsgi.mule_msg(b"message")
        await work.spool()
        await uwsgi.call("ask")
        async with uwsgi.locked(1):
            await uwsgi.cache_inc("count", 1)


def main(placement: Any) -> None:
    """Be the program."""
    config = Config(
        http="127.0.0.1:0",
        socket="127.0.0.1:0",
        placement=placement,
        threads=2,
        mules=1,
        spooler="jobs",
        caches=[trio_uwsgi.Cache("c", items=10)],
        locks=1,
        mercy=2,
        harakiri=10,
    )
    trio.run(trio_uwsgi.serve, app, config)
