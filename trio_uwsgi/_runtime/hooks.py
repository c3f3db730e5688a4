"""What the application wants done when a member begins. Floor 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._tasks.calls import FAILURES
from trio_uwsgi._tasks.journal import summary
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi._tasks.calls import Calls

__all__ = ["run_post_fork"]


async def run_post_fork(calls: Calls) -> None:
    """Call the hooks of a member that is about to be ready, one after the other. Its threads must be served.

    Raises:
        BootError: one of them failed, which is its cause; those behind it were not called.
    """
    member = calls.member
    for hook in member.registry.post_fork_hooks:
        name = getattr(hook, "__name__", "")
        try:
            await calls.run_bare("post_fork", name, hook)
        except FAILURES as error:
            raise BootError(f"the post_fork hook {name} failed in {member.name}: {summary(error)}") from error
