"""What the application wants done when a member begins, and when it ends."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._units.journal import summary
from trio_uwsgi._units.loggers import enable_own_loggers
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi._units.calls import Calls

__all__ = ["hooked"]

# Seconds before the end of the mercy at which a hook is ended here: then whoever ends the member from outside comes,
# and nobody could say any more which one it was. Never more than half of the mercy.
_LEEWAY = 0.25


@contextlib.asynccontextmanager
async def hooked(calls: Calls) -> AsyncIterator[None]:
    """The time between the hooks of a member: it is about to be ready, and it has ended what it ran. Its threads must
    be served.

    Raises:
        BootError: a post_fork hook failed.
    Cancellation: a member that is cut off is like one that is killed, and calls no hooks.
    """
    await _run_post_fork(calls)
    enable_own_loggers()  # by now the application has set up logging
    yield
    await _run_atexit(calls)


async def _run_post_fork(calls: Calls) -> None:
    """One after the other.

    Raises:
        BootError: one of them failed, which is its cause; those behind it were not called.
    """
    member = calls.member
    for hook in member.registry.post_fork_hooks:
        name = getattr(hook, "__name__", "")
        error = await calls.run_bare("post_fork", name, hook)
        if error is not None:
            raise BootError(f"the post_fork hook {name} failed in {member.name}: {summary(error)}") from error


async def _run_atexit(calls: Calls) -> None:
    """The last one that was declared first. All of them are called, and together have what is left of the mercy."""
    member = calls.member
    mercy = member.services.mercy
    deadline = member.inbox.stop_requested_at + max(mercy - _LEEWAY, mercy / 2)
    for hook in reversed(member.registry.atexit_hooks):
        left = deadline - trio.current_time()
        await calls.run("atexit", getattr(hook, "__name__", ""), hook, limit=max(left, 0.001))
