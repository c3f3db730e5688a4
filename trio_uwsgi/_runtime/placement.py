"""Placements: where a member instance runs.

A member is the same object in every placement: it has a link to the master and a body to run. Here are the two
placements inside this process: a task with a direct link (the default), and a task whose frames go as bytes over memory
pipes, which tests the path of a separate process without one. Processes are in `_process/generation.py`. A placement is
one awaited call that lasts as long as the instance, so the nursery that runs the call owns the instance. What follows
its end is decided in `supervisor.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from trio_uwsgi._link.link import StreamLink, direct_links

if TYPE_CHECKING:
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._units.member import Member

__all__ = ["Died", "Ending", "MakeMember", "MemberTask", "Placement", "Stopped", "in_task", "over_memory"]


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """The member was asked to stop, and did."""

    def __str__(self) -> str:
        return "it was asked to stop"


@dataclasses.dataclass(frozen=True, slots=True)
class Died:
    """The member ended without being asked to; `reason` says how, for the log. `at_once`: it had started, however soon
    it ended, so it is restarted without a pause.
    """

    reason: str
    at_once: bool = False

    def __str__(self) -> str:
        return self.reason


Ending: TypeAlias = Stopped | Died


@dataclasses.dataclass(frozen=True, slots=True)
class MemberTask:
    """One member instance as a task: the identity that its code sees, and what it runs."""

    member: Member
    body: Callable[[], Awaitable[Ending]]


MakeMember: TypeAlias = Callable[["MemberInstance"], MemberTask]


class Placement(Protocol):
    """Runs one member instance until its body ends, and returns how it ended. A cancellation ends it at once.

    `make_member` makes the member where it runs: a placement in another process does not call it in this one. Frames
    that the member sent before its end have been obeyed when this returns.
    """

    async def __call__(
        self, master: Master, instance: MemberInstance, make_member: MakeMember, window: int
    ) -> Ending: ...


async def in_task(master: Master, instance: MemberInstance, make_member: MakeMember, window: int) -> Ending:
    """The member is this task, and frames are plain calls. `window` is not used: a refusal is immediate."""
    member_task = make_member(instance)
    member_task.member.link, to_member = direct_links(partial(master.obey, instance), member_task.member.inbox.obey)
    master.attach(instance, to_member)
    try:
        return await member_task.body()
    finally:
        master.detach(instance)


async def over_memory(master: Master, instance: MemberInstance, make_member: MakeMember, window: int) -> Ending:
    """The member is this task, and frames go as bytes through a pair of memory streams; `window` as in `StreamLink`."""
    from trio.testing import memory_stream_pair

    member_task = make_member(instance)
    near, far = memory_stream_pair()
    to_member = StreamLink(near, partial(master.obey, instance), window)
    member_task.member.link = to_master = StreamLink(far, member_task.member.inbox.obey, window)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_member.run)
            nursery.start_soon(to_master.run)
            master.attach(instance, to_member)
            ending = await member_task.body()
            to_master.finish()  # frames that were sent last still arrive
        return ending
    finally:
        master.detach(instance)
