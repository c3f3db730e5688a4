"""The API of what is done when a member begins, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi.uwsgi._base import current_registry

__all__ = ["atexit", "post_fork"]

F = TypeVar("F", bound=Callable[[], object])


def post_fork(func: F) -> F:
    """Decorate a function to be called in every member before it is ready.

    It is the place to open what processes must not share. Functions are called in the order of their declaration, in
    each worker, mule and spooler; where members are tasks, once for each of them, in the one process. The lifespan of
    an ASGI application is up by then. A member that follows a dead one calls them again. There is no time limit.

    Args:
        func: called without arguments; `async def`, or `def` in a thread. What it raises is a failed start: in tasks
            the runtime ends, in processes another member is tried a few times before.
    Raises:
        RegistrationError: it is not callable, or the members run already.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.postfork`, or the attribute `uwsgi.post_fork_hook`; failures are ignored there.
    """
    return current_registry().post_fork(func)


def atexit(func: F) -> F:
    """Decorate a function to be called in every member that ends in an orderly way.

    It is the place to close what `post_fork` opened. That is at a stop, when another member follows (a reload,
    `max_requests`), and when one with nothing to do leaves; in each worker, mule and spooler, where members are tasks
    once for each of them, in the one process. Requests, signals, messages and jobs have ended by then; threads, caches
    and, in a worker, the lifespan of an ASGI application are there still. The last function that was declared is called
    first, and all are called, whatever becomes of the others.

    The functions of a member have what is left of its mercy. One that takes longer is cancelled, and named in the log.
    A member that is killed, dies, or is cut off (a hard stop, or its requests took all of the mercy) calls none.
    Python's own `atexit` is for what belongs to a process: a member's calls its functions at the very end, outside of
    Trio, and where members are tasks there is one process.

    Args:
        func: called without arguments; `async def`, or `def` in a thread. What it raises is logged.
    Raises:
        RegistrationError: it is not callable, or the members run already.
    Checkpoint: never.
    uWSGI: the attribute `uwsgi.atexit`, one function, which busy and async workers skip.
    """
    return current_registry().atexit(func)
