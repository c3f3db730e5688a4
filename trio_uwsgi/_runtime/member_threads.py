"""The threads of a member: those of its handlers and RPC functions, and those that the application starts itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._units.app_threads import AppThreads
from trio_uwsgi._units.thread_pool import ThreadPool

if TYPE_CHECKING:
    import trio

    from trio_uwsgi._units.member import Member

__all__ = ["rpc_threads", "serve_threads"]

# How many `def` RPC functions run at once in a member, without those that others call.
RPC_THREADS = 16


def rpc_threads(member: Member) -> ThreadPool:
    """The threads of a member's `def` RPC functions."""
    return ThreadPool(RPC_THREADS, f"{member.name} rpc")


async def serve_threads(nursery: trio.Nursery, member: Member) -> None:
    """Start the threads of a worker, a mule or a spooler, in its nursery."""
    for pool in (member.threads, member.rpc_threads):
        await nursery.start(pool.serve, name=f"threads {pool.name}")
    await nursery.start(AppThreads(member).serve, name=f"threads of the application in {member.name}")
