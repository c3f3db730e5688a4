"""Applications that make every mistake, each at its own path: for `test_containment.py`.

Both interfaces answer the same paths: `/ok`; `/slow`, after half a second; `/raise/CLASS/PLACE`, which raises;
`/handlers/CLASS`, which has everything that is not a request raise that class; `/leave/WHAT`, which leaves something
open, and `/handlers/leave`, with which all others do; `/close/WHAT`, which closes a descriptor, or its connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import trio

from trio_uwsgi import sync, uwsgi
from trio_uwsgi.errors import RpcError


class Panic(BaseException):
    """As extension modules raise it."""


class Unprintable(Exception):
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


ERRORS: dict[str, BaseException] = {
    "ValueError": ValueError("wrong"),
    "CancelledError": asyncio.CancelledError(),
    "GeneratorExit": GeneratorExit(),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "Panic": Panic("own"),
    "SystemExit": SystemExit(3),
    "StopIteration": StopIteration(),
    "Unprintable": Unprintable(),
    "Group": BaseExceptionGroup("several", [Panic("one"), ValueError("two")]),
}


class Picky(logging.Filter):
    """Raises once it is told to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Fail, after the first request."""
        if not os.path.exists("filter"):
            return True
        raise Panic("the filter")


logging.getLogger("trio_uwsgi.access").addFilter(Picky())
logging.getLogger("trio_uwsgi").addFilter(Picky())


# ----- what leaves something open


async def scoped() -> AsyncIterator[int]:
    """Yields inside of a cancel scope that would cancel whatever runs under it later."""
    with trio.move_on_after(0.2):
        yield 1


async def nursed() -> AsyncIterator[int]:
    """Yields inside of a nursery with a task in it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        yield 1


KEPT: list[AsyncIterator[int]] = []


async def leave(what: str) -> None:
    """Leave a scope, or a nursery, open; `kept` ones are never closed, and others when they are collected."""
    generator = nursed() if "nursery" in what else scoped()
    if "kept" in what:
        KEPT.append(generator)
    async for _ in generator:
        break


def close(what: str) -> None:
    """Close what the server needs."""
    if what == "stderr":
        sys.stderr.close()
    else:
        os.close(uwsgi.connection_fd() if what == "connection" else int(what))


# ----- everything that is not a request

_what = ""


def fail(_: object = None) -> None:
    """Raise what `/handlers` was asked for."""
    if _what in ERRORS:
        raise ERRORS[_what]


async def fail_async(_: object = None) -> None:
    """Likewise, in a task; or leave something open."""
    if _what.startswith("leave"):
        await leave(_what)
    fail()


uwsgi.signal_handler(1, target="worker1")(fail)
uwsgi.signal_handler(2, target="worker1")(fail_async)
uwsgi.signal_handler(3, target="worker1")(lambda signum: None)
uwsgi.rpc_handler("plain")(fail)
uwsgi.atexit(fail)


@uwsgi.rpc_handler("waiting")
async def waiting() -> bytes:
    """An RPC function."""
    await fail_async()
    return b""


@uwsgi.mule_message_handler
async def handle(message: bytes) -> None:
    """A message names what is to be done about it."""
    global _what
    _what = message.decode()
    await fail_async()


@uwsgi.mule_message_handler
def handle_in_thread(message: bytes) -> None:
    """The same, in a thread."""
    fail()


@uwsgi.spool_handler(pass_arguments=True, max_tries=1)
async def work(what: str) -> None:
    """A job."""
    global _what
    _what = what
    await fail_async()


@uwsgi.spool_handler(pass_arguments=True, max_tries=1)
def work_in_thread(what: str) -> None:
    """A job, in a thread."""
    global _what
    _what = what
    fail()


async def handlers(what: str) -> None:
    """Have all of them run, in this worker and in others."""
    global _what
    _what = what
    uwsgi.signal(1)
    uwsgi.signal(2)
    uwsgi.mule_msg(what.encode())
    await work.spool(what)
    await work_in_thread.spool(what)
    for name in ("plain", "waiting"):  # a part of this request: what it leaves open is the request's
        try:
            await uwsgi.call(name)
        except RpcError:
            continue


# ----- requests


class Failing:
    """A body that raises in its first step, in its second, or when it is closed."""

    def __init__(self, error: BaseException, place: str) -> None:
        self.error = error
        self.place = place
        self.steps = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.steps += 1
        if self.place == f"step{self.steps}":
            raise self.error
        if self.steps == 3:
            raise StopIteration
        return b"ok" * 10

    def close(self) -> None:
        """After the body."""
        if self.place == "close":
            raise self.error


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Any:
    """The WSGI application."""
    _, action, *words = environ["PATH_INFO"].split("/")
    if action == "raise":
        error, place = ERRORS[words[0]], words[1]
        if place == "start":
            raise error
        if place == "nothing":
            return [b"without start_response"]
        start_response("200 OK", [("content-type", "text/plain")])
        return Failing(error, place)
    if action == "handlers":
        sync.wait(handlers, words[0])
    elif action == "leave":
        sync.wait(leave, words[0])
    elif action == "slow":
        time.sleep(0.5)
    elif action == "close":
        close(words[0])
    start_response("200 OK", [("content-length", "2")])
    return [b"ok"]


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[..., Awaitable[None]]
) -> None:
    """The ASGI application."""
    if scope["type"] != "http":
        return
    _, action, *words = scope["path"].split("/")
    started = False
    if action == "raise":
        error, place = ERRORS[words[0]], words[1]
        if place == "start":
            raise error
        if place != "nothing":
            await send({"type": "http.response.start", "status": 200})
            started = True
        await send({"type": "http.response.body", "body": b"ok", "more_body": place == "step2"})
        if place != "step1":
            raise error
    elif action == "handlers":
        await handlers(words[0])
    elif action == "leave":
        await leave(words[0])
    elif action == "slow":
        await trio.sleep(0.5)
    elif action == "close":
        close(words[0])
    if not started:
        await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"ok"})
