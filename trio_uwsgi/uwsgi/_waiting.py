"""How synchronous code waits for Trio: the one way in, `wait`.

Where the code runs decides how it waits:

- in a thread that Trio started (handlers, WSGI in threads, programs, jobs): with `trio.from_thread`;
- on Trio's own thread (inline WSGI): with greenback, to whose portal the task of the requests is bound;
- in a thread that the application started: in the task that its member gives it (`_units/app_threads.py`);
- while the application is imported: likewise, in a Trio run beside the import (`_units/import_threads.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import greenback
import trio

from trio_uwsgi._units.app_threads import app_thread, import_on_trios_thread, is_trios_thread
from trio_uwsgi.errors import CannotWait, NotServing

__all__ = ["may_block", "off_trios_thread", "wait", "wait_as"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def wait(func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Await `func(*args)` in synchronous code, and return its result.

    In a member this works in every thread. While a view waits on Trio's own thread, other code of the member runs,
    except other requests. In a thread that the application started, the call belongs to the first worker of this
    process, and ends with it.

    Args:
        func: any `async def` function, of `uwsgi`, of Trio, or your own.
        args: its arguments; wrap it in `functools.partial` for arguments with names.
    Returns:
        What the function returned.
    Raises:
        CannotWait: an async function calls this, or what it calls; or code on Trio's own thread waits for the calling
            thread.
        NotServing: a thread that the application started makes the call where no member runs, or its member stops
            before the call has ended.
    Checkpoint: always, as the function does.
    Cancellation: a time limit or a stop cancels the function, and raises `trio.Cancelled` here.
    uWSGI: there is no such call.
    Example:
        def app(environ, start_response):
            sync.wait(trio.sleep, 0.1)
            start_response("200 OK", [])
            return [b"rested"]
    """
    return wait_as(f"sync.wait({getattr(func, '__qualname__', repr(func))})", func, *args)


def wait_as(what: str, func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """As `wait`, for a call that error texts call `what`."""
    if trio.lowlevel.in_trio_run():
        if (thread := import_on_trios_thread()) is not None:
            return thread.run(what, func, *args)
        if not greenback.has_portal():
            raise CannotWait(what, "await the async function itself, or call this in a thread")
        return greenback.await_(_awaited(func, *args))
    if is_trios_thread():
        return trio.from_thread.run(func, *args)
    thread = app_thread()
    if thread is None:
        raise NotServing(what, "call it in a request, a handler, a job or a mule's program")
    return thread.run(what, func, *args)


def may_block() -> bool:
    """Does synchronous code of a member call this, in a request, a handler, a job or a program?"""
    if trio.lowlevel.in_trio_run():
        return greenback.has_portal() and import_on_trios_thread() is None
    return is_trios_thread()


def off_trios_thread(func: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that blocks for some milliseconds, as for a disk, in a thread: this one, or another.

    Trio's own thread calls it itself only for an async function, which cannot wait for another here.
    """
    if trio.lowlevel.in_trio_run():
        if not greenback.has_portal():
            return func(*args)
        return greenback.await_(trio.to_thread.run_sync(func, *args))
    with contextlib.suppress(RuntimeError):  # a thread that the application started
        trio.from_thread.check_cancelled()
    return func(*args)


async def _awaited(func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    # Called here, below greenback, where the functions of `uwsgi` can be called.
    return await func(*args)
