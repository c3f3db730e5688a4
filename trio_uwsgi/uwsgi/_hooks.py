"""The API of functions that are called when a member starts, and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi.uwsgi._base import current_registry

__all__ = ["atexit", "post_fork"]

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
