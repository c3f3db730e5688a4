"""The API of the start and the end of a member: functions that are called then, and the question whether it stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi._units.app_threads import outlives_its_member
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import current_registry, running_unit, unit_here

__all__ = ["atexit", "post_fork", "stopping", "wait_stopping"]

F = TypeVar("F", bound=Callable[[], object])


def post_fork(func: F) -> F:
    """Decorate a function that every member calls when it starts, before it is ready.

    Use it to open per-process connections, to a database for example. Each worker, mule and spooler calls the functions
    in the order of their declaration. Where members are tasks, each of them does so in the one process. An ASGI
    application's lifespan has started by then. The replacement of a member that died calls the functions again. There
    is no time limit.

    Args:
        func: called without arguments; `async def`, or `def`, which runs in a thread. If it raises, the start has
            failed: where members are tasks, the runtime ends; where they are processes, the member is first started
            again, three times in all.
    Raises:
        RegistrationError: it is not callable, or the members run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.postfork`, or the attribute `uwsgi.post_fork_hook`, which hold plain functions. There an
        exception is printed and ignored.
    Example:
        @uwsgi.post_fork
        async def connect():
            state["database"] = await open_database()
    """
    return current_registry().post_fork(func)


def atexit(func: F) -> F:
    """Decorate a function that every member calls when it stops gracefully.

    Use it to close what `post_fork` opened. A member stops gracefully when the runtime stops, when the member is
    replaced (by a reload or because of `Config.max_requests`), and when a pool stops an idle member. Each worker, mule
    and spooler calls the functions in reverse order of their declaration. Where members are tasks, each of them does so
    in the one process. The member's requests, signals, messages and jobs have ended by then. Threads, caches and, in a
    worker, the lifespan of an ASGI application still work. If a function raises, the others are called all the same.

    The functions of a member have to end within the rest of the graceful shutdown timeout (`Config.mercy`). A function
    that takes longer is cancelled, and the log names it. A member does not call the functions if it dies, is killed, or
    is cancelled by a hard stop or at the end of the graceful shutdown timeout. Functions of Python's own module
    `atexit` run when the process ends, outside of Trio.

    Args:
        func: called without arguments; `async def`, or `def`, which runs in a thread. An exception of it is logged.
    Raises:
        RegistrationError: it is not callable, or the members run already.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.atexit`, which holds one plain function. Busy workers, async workers and spoolers do not
        call it.
    Example:
        @uwsgi.atexit
        async def disconnect():
            await state["database"].aclose()
    """
    return current_registry().atexit(func)


def stopping() -> bool:
    """Whether the member that runs the calling code, or the whole runtime, was asked to stop.

    A member is asked to stop also when it is replaced, as by a reload, and when it is not needed any more.
    Code that could go on for ever asks this from time to time, and ends: a WSGI generator that streams, a job of many
    steps. A health check that answers 503 while it is true makes load balancers choose another server, see
    `Config.drain_delay`. It is true as soon as the stop was asked for; `Config.stop_streams` does not delay it. In a
    member that is a process it works even while the code blocks the event loop.

    Returns:
        False outside of a running member; True in a thread of the application whose member has stopped.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: there is no such call.
    Example:
        def health(environ, start_response):
            start_response("503 Stopping" if uwsgi.stopping() else "200 OK", [])
            return []
    """
    unit = unit_here()
    if unit is None:
        return outlives_its_member()
    return unit.member.inbox.stops


@awaited
async def wait_stopping() -> None:
    """Wait until `stopping` is true; return at once if it is.

    For a stream or a program that has something to say or to save before it ends. A mule's program is cancelled when
    its mule stops. Mules stop after the workers, so at a stop of the runtime there is time until the last request has
    ended, and when only the mule is replaced there is none.

    Raises:
        NotServing: not called by a running member.
    Checkpoint: always.
    Cancellation: nothing is left behind.
    uWSGI: there is no such call.
    Example:
        @uwsgi.mule(1)
        async def program():
            await uwsgi.wait_stopping()
            print("the mule stops")
    """
    unit = running_unit("wait_stopping", "it waits for the end of a member, so call it in a request or a handler")
    await unit.member.inbox.stop_announced.wait()
