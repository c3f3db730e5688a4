"""Where a member lives. Floor 3.

A member is the same object everywhere: it has a link to the master and a body to run, and knows nothing else. Here are
the two placements inside this process: a task with a direct link (`serve`'s default), and a task spoken to in bytes
over memory pipes, which keeps the path of a separate process honest in tests. Each is one awaited call that lasts as
long as the member, so supervision is structured: the nursery that runs it is the one that owns the member.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from trio_uwsgi._tasks.link import StreamLink, direct_links

if TYPE_CHECKING:
    from trio_uwsgi._core.roster import Seat
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._tasks.unit import Member

__all__ = ["Life", "Placement", "in_task", "over_memory"]


@dataclasses.dataclass(frozen=True, slots=True)
class Life:
    """One member from its birth to its end: the seat it takes, the identity its code sees, and what it does."""

    seat: Seat
    member: Member
    body: Callable[[], Awaitable[None]]


class Placement(Protocol):
    """Runs a member until its body ends; what waits on its seat then is reported. A cancellation ends the member at
    once.
    """

    async def __call__(self, master: Master, life: Life, window: int) -> None: ...


async def in_task(master: Master, life: Life, window: int) -> None:
    """The member is this task, and frames are plain calls. `window` means nothing here: a refusal is immediate."""
    life.member.link, to_member = direct_links(partial(master.obey, life.seat), life.member.inbox.obey)
    master.attach(life.seat, to_member)
    try:
        await life.body()
    finally:
        master.detach(life.seat)


async def over_memory(master: Master, life: Life, window: int) -> None:
    """The member is this task, and frames go as bytes through a pair of memory streams; `window` as in `StreamLink`."""
    from trio.testing import memory_stream_pair

    near, far = memory_stream_pair()
    to_member = StreamLink(near, partial(master.obey, life.seat), window)
    life.member.link = to_master = StreamLink(far, life.member.inbox.obey, window)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_member.run)
            nursery.start_soon(to_master.run)
            master.attach(life.seat, to_member)
            await life.body()
            to_master.finish()  # what the member said last still arrives
    finally:
        master.detach(life.seat)
