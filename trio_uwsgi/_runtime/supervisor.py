"""Who looks after one seat: lives on it, one after the other, from the start of the runtime to its end.

Theory. A placement is one awaited call that lasts as long as one life and says how that ended. Here is what follows
from it:

    told to stop    the member had its time; the seat ends, unless something came for it meanwhile: one more life has it
    left, idle      the seat is vacant until the roster hires somebody for it
    died            what it ran is dealt with, and there is a new life: at once, or after a pause if it died young

A member may also be followed by another one without a gap, because its code is old or it has done enough:

    prepare      the next life, an heir, starts beside the one that has the seat; if it does not, that was all
    hand over    the one that has the seat begins nothing any more, and says so (`Drained`): from then on its heir
                 has the seat, and what waits there; it ends what it runs within the mercy, and that ends only itself

Nothing on the seat is touched by the end of a life but what it ran. A bug in a member is no death: it goes through here
and ends the runtime.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_uwsgi._runtime.backoff import MEMBERS_YOUTH, next_pause
from trio_uwsgi._runtime.member_instance import MemberInstance
from trio_uwsgi._runtime.placement import Died, Ending, Stopped
from trio_uwsgi._runtime.slots import SlotState

if TYPE_CHECKING:
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.slots import Slot

__all__ = ["RunInstance", "Supervisor"]

logger = logging.getLogger("trio_uwsgi")

RunInstance: TypeAlias = Callable[[MemberInstance], Awaitable[Ending]]


class Supervisor:
    """The supervision of one seat.

    Args:
        seat: the seat.
        master: told of deaths, and of the end.
        live: places a member on the seat, and returns when that has ended, with how.
        idle: seconds after which a member of a spare seat that has nothing to do is let go; inf leaves that to the
            member, which may ask.
        mercy: seconds that a member which gave way may take to end what it runs.
    """

    def __init__(self, slot: Slot, master: Master, live: RunInstance, idle: float, mercy: float) -> None:
        self.slot = slot
        self._master = master
        self._live = live
        self._idle = idle
        self._mercy = mercy
        self.scope = trio.CancelScope()  # of all that happens on the seat
        self._idling = trio.CancelScope()  # its deadline is when the member has been idle for long enough
        self._changed = trio.lowlevel.ParkingLot()
        self._stopping = False
        self._running: trio.Nursery
        self.holder: MemberInstance | None = None  # who has the seat
        self._replacement: MemberInstance | None = None  # who is prepared to have it
        self._next: MemberInstance | None = None  # who has it as soon as the holder gave way
        self._draining: MemberInstance | None = None  # who had it before
        slot.on_activated = self._awake
        if slot.spare and idle < math.inf:
            slot.on_idle = self._is_idle

    def stop(self, *, patient: bool = False) -> None:
        """Let the member that is there, and one that comes for what waits, end what they do; and then the seat.
        `patient`: others serve on.
        """
        self._stopping = True
        self.abandon_replacement()
        self._awake()
        self._master.stop(self.slot, patient=patient)

    def dismiss(self) -> None:
        """Stop, while others serve on; within the mercy, counted from now."""
        self.scope.deadline = trio.current_time() + self._mercy
        self.stop(patient=True)

    async def run(self) -> None:
        """Have somebody on the seat, or nobody while it is vacant, until `stop`. A cancellation ends the seat at once.

        Raises, in a group:
            What a placement raises: a bug.
        """
        try:
            with self.scope:
                async with trio.open_nursery() as self._running:
                    await self._look_after()
        finally:
            self._master.retire(self.slot)
        if self.scope.cancelled_caught:
            logger.warning("the mercy of %g s is over: cancelled what %s still ran", self._mercy, self.slot.name)

    async def _look_after(self) -> None:
        slot = self.slot
        pause = 0.0
        while slot.load or not self._stopping:
            if slot.state is SlotState.VACANT:
                await self._until(lambda: self._stopping or slot.state is not SlotState.VACANT)
                continue
            self.holder = holder = await self._fill_slot()
            assert holder.ending is not None
            pause = next_pause(pause, trio.current_time() - holder.began, MEMBERS_YOUTH)
            if isinstance(holder.ending, Died) and holder.ending.at_once:
                pause = 0.0
            if isinstance(holder.ending, Died):
                self._master.member_died(slot, holder.ending.reason, None if self._stopping else pause)
                if self._stopping:
                    break
                with trio.move_on_after(pause):
                    await self._until(lambda: self._stopping)

    async def _fill_slot(self) -> MemberInstance:
        """Have a member on the seat, or several that follow one another, and give back the last one when it ended."""
        holder = self.holder = self._start(self._live)
        if self.slot.on_idle is None:
            return await self._until_it_ends(holder)
        self._idling = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._let_go_when_idle)
            holder = await self._until_it_ends(holder)
            nursery.cancel_scope.cancel()
        return holder

    async def _until_it_ends(self, holder: MemberInstance) -> MemberInstance:
        while True:
            await self._until(lambda: holder.ending is not None or holder.drained)  # noqa: B023  # asked before it changes
            if self._next is None:
                return holder
            holder = self._follow(holder, self._next)

    def _start(self, live: RunInstance, *, replacement: bool = False) -> MemberInstance:
        others = (
            self.holder,
            self._draining,
            self._replacement,
        )  # two of them at most: a holder may die while an heir is there
        names = [other.name for other in others if other is not None and other.ending is None]
        instance = MemberInstance(self.slot, replacement=replacement, second=self.slot.name in names)
        instance.on_change = self._awake
        self._running.start_soon(self._be, instance, live)
        return instance

    async def _be(self, instance: MemberInstance, live: RunInstance) -> None:
        with instance.scope:
            instance.ending = await live(instance)
        if instance.ending is None:  # cancelled: its time was up, or nobody needs one who has never served
            late = f"it did not end within the mercy of {self._mercy:g} s"
            instance.ending = Died(late) if instance.ready else Stopped()
        if instance.drained:
            self._master.instance_left(instance, instance.ending)
            self._draining = None
        self._awake()

    # ----- one after the other, without a gap

    async def prepare(self, live: RunInstance) -> bool:
        """Start the member that is to follow the one that has the seat, and wait until it serves.

        Returns:
            False: it did not start, or the seat is to end; nothing has changed.
        Cancellation: likewise.
        """
        await self.wait_left()  # there are never three
        if self._stopping or not self._is_held():  # whoever comes next is new in any case
            return not self._stopping
        replacement = self._replacement = self._start(live, replacement=True)
        try:
            await self._until(lambda: replacement.ready or replacement.ending is not None)
        except trio.Cancelled:
            self.abandon_replacement()
            raise
        if replacement.ending is None:
            return True
        self._replacement = None
        if not self._stopping:
            logger.error(
                "%s stays: the one that was to follow ended before it served: %s", self.slot.name, replacement.ending
            )
        return False

    async def wait_left(self) -> None:
        """Wait until nobody is to give way, or is leaving."""
        await self._until(lambda: self._draining is None and self._next is None)

    def abandon_replacement(self) -> None:
        """Whoever is prepared is not needed."""
        if self._replacement is not None:
            self._replacement.scope.cancel()
            self._replacement = None

    def drain(self) -> bool:
        """Let whoever is prepared have the seat, as soon as the one that has it gave way.

        Returns:
            False: nobody was prepared, because nobody had the seat then, and now somebody has it.
        """
        holder = self.holder
        if holder is None or not self._is_held():
            self.abandon_replacement()
            return True
        if self._replacement is None:
            return False
        self._next, self._replacement = self._replacement, None
        if holder.ready:
            holder.scope.deadline = trio.current_time() + self._mercy
            self._master.drain(self.slot)
        else:
            holder.scope.cancel()  # it has never served
        return True

    def _is_held(self) -> bool:
        holder = self.holder
        return holder is not None and holder.ending is None and self.slot.state is not SlotState.VACANT

    def _follow(self, holder: MemberInstance, replacement: MemberInstance) -> MemberInstance:
        self._next = None
        if holder.drained and holder.ending is None:
            self._draining = holder
        elif isinstance(holder.ending, Died) and not holder.drained:
            self._master.member_died(self.slot, holder.ending.reason, 0)
        self.holder = replacement
        self._master.inherit(replacement)
        return replacement

    async def _let_go_when_idle(self) -> None:
        while True:
            with self._idling:
                await trio.sleep_forever()
            was, self._idling = self._idling, trio.CancelScope()  # whose deadline is set when it is idle again
            if trio.current_time() < was.deadline:  # it did something in the instant in which its time was up
                self._idling.deadline = was.deadline
            elif self._master.let_go(self.slot):
                return

    def _is_idle(self) -> None:
        self._idling.deadline = trio.current_time() + self._idle

    def _awake(self) -> None:
        self._changed.unpark_all()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.park()
