"""A test whose members are tasks: connections to workers over memory streams, and members that can be killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio
import trio.testing

from trio_uwsgi._runtime.placement import Died, Ending, MakeMember, MemberTask, Placement

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.settings import Environment
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi._units.member import Member

__all__ = ["TaskMemberAccess"]

MemoryStream: TypeAlias = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class _KillablePlacement:
    """A placement of members as tasks that can be killed."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._running: dict[str, tuple[Member, trio.CancelScope]] = {}

    async def __call__(self, master: Master, instance: MemberInstance, make_member: MakeMember, window: int) -> Ending:
        def make_killable_member(instance: MemberInstance) -> MemberTask:
            member_task = make_member(instance)
            return MemberTask(member_task.member, partial(self._run, member_task))

        return await self._placement(master, instance, make_killable_member, window)

    async def _run(self, member_task: MemberTask) -> Ending:
        name = member_task.member.name
        with trio.CancelScope() as scope:
            self._running[name] = member_task.member, scope
            try:
                ending = await member_task.body()
            finally:
                del self._running[name]
        return Died("killed") if member_task.member.killed else ending

    def kill(self, name: str) -> None:
        """Kill a member now."""
        try:
            member, scope = self._running[name]
        except KeyError:
            running = ", ".join(sorted(self._running))
            raise LookupError(f"no member {name!r} is running; running: {running}") from None
        member.killed = True
        member.link.cut()
        scope.cancel()


class TaskMemberAccess:
    """How a test reaches the members of its runtime where they are tasks."""

    def __init__(self, environment: Environment) -> None:
        killable = _KillablePlacement(environment.placement)
        self.environment = dataclasses.replace(environment, placement=killable)
        self.kill = killable.kill
        self.catch_up = _ignore

    def connect(self, tree: NurseryTree, peer: Peer) -> tuple[MemoryStream, Callable[[], bool]]:
        near, far = trio.testing.memory_stream_pair()
        closed = False
        deliver_end = far.send_stream.close_hook

        def close_hook() -> None:
            nonlocal closed
            closed = True
            if deliver_end is not None:
                deliver_end()

        far.send_stream.close_hook = close_hook
        tree.runtime.take(far, peer)
        return near, lambda: closed

    async def wait_until_idle(self) -> None:
        await trio.lowlevel.checkpoint()


def _ignore() -> None:
    """There are no events of other processes."""
