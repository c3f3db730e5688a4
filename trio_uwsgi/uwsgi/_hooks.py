"""The API of what is done when a member begins. Floor 4."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trio_uwsgi.uwsgi._base import current_registry

__all__ = ["post_fork"]

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
