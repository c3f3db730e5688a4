"""Runs the application's `post_fork` hooks when a member starts, and its `atexit` hooks when it ends."""

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

# Seconds before the end of the mercy at which a hook times out here. At the end of the mercy the master or a nursery
# ends the member, and could not name the hook in the log. Never more than half of the mercy.
_LEEWAY = 0.25


@contextlib.asynccontextmanager
async def hooked(calls: Calls) -> AsyncIterator[None]:
    """Run the `post_fork` hooks, then the body, in which the member serves, then the `atexit` hooks. The member's
    threads must be served.

    Raises:
        BootError: a post_fork hook failed.
    Cancellation: as when the member is killed, no `atexit` hook is called.
    """
    await _run_post_fork(calls)
    enable_own_loggers()  # by now the application has set up logging
    yield
    await _run_atexit(calls)


async def _run_post_fork(calls: Calls) -> None:
    """Call the hooks one after the other.

    Raises:
        BootError: a hook failed, with what it raised as the cause; the hooks after it were not called.
    """
    member = calls.member
    for hook in member.registry.post_fork_hooks:
        name = getattr(hook, "__name__", "")
        error = await calls.run_bare("post_fork", name, hook)
        if error is not None:
            raise BootError(f"the post_fork hook {name} failed in {member.name}: {summary(error)}") from error


async def _run_atexit(calls: Calls) -> None:
    """Call all hooks, those declared last first. Together they have what is left of the mercy."""
    member = calls.member
    deadline = member.inbox.deadline(_LEEWAY)
    for hook in reversed(member.registry.atexit_hooks):
        left = deadline - trio.current_time()
        await calls.run("atexit", getattr(hook, "__name__", ""), hook, limit=max(left, 0.001))
