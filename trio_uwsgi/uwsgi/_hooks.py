"""The API of functions that are called when a member starts, and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi.uwsgi._base import current_registry

__all__ = ["atexit", "post_fork"]

F = TypeVar("F", bound=Callable[[], object])


def post_fork(func: F) -> F:
    """Decorate a function to be called in every member before it is ready.

    Use it to open what each process needs for itself, such as database connections. Each worker, mule and spooler calls
    the functions in the order of their declaration; where members are tasks, each of them does so in the one process.
    An ASGI application's lifespan has started by then. A member that replaces one that died calls them again. There is
    no time limit.

    Args:
        func: called without arguments; `async def`, or `def` in a thread. If it raises, the start has failed: where
            members are tasks, the runtime ends; where they are processes, it starts the member again a few times first.
    Raises:
        RegistrationError: it is not callable, or the members run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.postfork`, or the attribute `uwsgi.post_fork_hook`; failures are ignored there.
    """
    return current_registry().post_fork(func)


def atexit(func: F) -> F:
    """Decorate a function to be called in every member when it stops gracefully.

    Use it to close what `post_fork` opened. A member stops gracefully when the runtime stops, when the member is
    replaced (a reload, `max_requests`), and when it was idle and is no longer needed. Each worker, mule and spooler
    calls the functions in reverse order of their declaration; where members are tasks, each of them does so in the one
    process. The member's requests, signals, messages and jobs have ended by then. Threads, caches and, in a worker, the
    lifespan of an ASGI application still work. If a function raises, the others are called all the same.

    The functions of a member have to end within what is left of the graceful shutdown timeout (`Config.mercy`). A
    function that takes longer is cancelled, and named in the log. The functions are not called in a member that dies,
    is killed, or is cut off (by a hard stop, or because its requests took all of the timeout). Python's own `atexit`
    functions run when the process ends, outside of Trio.

    Args:
        func: called without arguments; `async def`, or `def` in a thread. What it raises is logged.
    Raises:
        RegistrationError: it is not callable, or the members run already.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.atexit`, one function, which busy and async workers do not call.
    """
    return current_registry().atexit(func)
