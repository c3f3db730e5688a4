"""Keeps one slot filled: starts member instances in it, one after the other, and replaces them.

Theory. A placement runs one instance: it is one awaited call that lasts until the instance has ended, and says how it
ended. The supervisor decides what follows:

    Stopped      the slot ends if the runtime stops; if something was delivered to the slot meanwhile, one more
                 instance runs that first. An instance that stopped because it had nothing to do leaves its slot
                 vacant until the dispatcher activates it.
    Died         the deliveries that the instance ran are reassigned or reported, and a new instance starts: at once,
                 or after a pause if this one ended soon after its start (`backoff.py`).

An instance is also replaced while it runs, without downtime, because its code is old or it reached a recycling limit:

    prepare      a second instance, the replacement, starts beside the holder of the slot; if it does not start, the
                 holder keeps the slot
    drain        the holder begins nothing new and says `Drained`; then the replacement takes over the slot with all
                 that waits there; the former holder ends what it runs within the mercy, and its end affects no one else

The end of an instance never affects deliveries that wait in the slot. An exception from a placement is a bug, not a
death: it passes through here and ends the runtime.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_uwsgi._runtime.backoff import MEMBER_STARTED_AFTER, next_pause
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
    """The supervision of one slot.

    Args:
        slot: the slot.
        master: is informed of deaths, and of the end of the slot.
        run_instance: runs an instance in the slot, and returns how it ended.
        idle: seconds after which an idle instance in a spare slot is stopped; inf leaves that to the member, which may
            send a `ShutdownRequest`.
        mercy: seconds that a drained instance may take to end what it runs.
    """

    def __init__(self, slot: Slot, master: Master, run_instance: RunInstance, idle: float, mercy: float) -> None:
        self.slot = slot
        self._master = master
        self._run_instance = run_instance
        self._idle = idle
        self._mercy = mercy
        self.scope = trio.CancelScope()  # of all instances in the slot
        self._idling = trio.CancelScope()  # its deadline: when the instance has been idle for long enough
        self._changed = trio.lowlevel.ParkingLot()
        self._stopping = False
        self._running: trio.Nursery
        self.holder: MemberInstance | None = None  # the instance that has the slot
        self._replacement: MemberInstance | None = None  # started, and not yet asked to take over
        self._next: MemberInstance | None = None  # takes over as soon as the holder has drained
        self._draining: MemberInstance | None = None  # the former holder, while it ends what it runs
        slot.on_activated = self._wake
        if slot.spare and idle < math.inf:
            slot.on_idle = self._is_idle

    def stop(self, mercy: float | None = None, *, patient: bool = False) -> None:
        """Stop the instance gracefully, and then end the slot. If deliveries wait, one more instance runs them first.
        `mercy`: seconds that are left of it. `patient`: other members keep serving.
        """
        self._stopping = True
        self.abandon_replacement()
        self._wake()
        self._master.stop(self.slot, trio.current_time() + (self._mercy if mercy is None else mercy), patient=patient)

    def stop_alone(self) -> None:
        """Stop while other members keep serving; within the mercy, counted from now."""
        self.scope.deadline = trio.current_time() + self._mercy
        self.stop(patient=True)

    async def run(self) -> None:
        """Keep the slot filled, except while it is vacant, until `stop`. A cancellation ends the slot at once.

        Raises, in a group:
            What a placement raises: a bug.
        """
        try:
            with self.scope:
                async with trio.open_nursery() as self._running:
                    await self._keep_filled()
        finally:
            self._master.retire(self.slot)
        if self.scope.cancelled_caught:
            logger.warning("the mercy of %g s is over: cancelled what %s still ran", self._mercy, self.slot.name)

    async def _keep_filled(self) -> None:
        slot = self.slot
        pause = 0.0
        while slot.load or not self._stopping:
            if slot.state is SlotState.VACANT:
                await self._until(lambda: self._stopping or slot.state is not SlotState.VACANT)
                continue
            self.holder = holder = await self._fill_slot()
            assert holder.ending is not None
            pause = next_pause(pause, trio.current_time() - holder.began, MEMBER_STARTED_AFTER)
            if isinstance(holder.ending, Died) and holder.ending.at_once:
                pause = 0.0
            if isinstance(holder.ending, Died):
                self._master.member_died(slot, holder.ending.reason, None if self._stopping else pause)
                if self._stopping:
                    break
                with trio.move_on_after(pause):
                    await self._until(lambda: self._stopping)

    async def _fill_slot(self) -> MemberInstance:
        """Run an instance and its replacements, and return the last one when it has ended."""
        holder = self.holder = self._start(self._run_instance)
        if self.slot.on_idle is None:
            return await self._until_it_ends(holder)
        self._idling = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._release_when_idle)
            holder = await self._until_it_ends(holder)
            nursery.cancel_scope.cancel()
        return holder

    async def _until_it_ends(self, holder: MemberInstance) -> MemberInstance:
        while True:
            await self._until(lambda: holder.ending is not None or holder.drained)  # noqa: B023  # asked before it changes
            if self._next is None:
                return holder
            holder = self._take_over(holder, self._next)

    def _start(self, run_instance: RunInstance, *, replacement: bool = False) -> MemberInstance:
        # At most two of them exist: the holder may have died while its replacement starts.
        others = (self.holder, self._draining, self._replacement)
        names = [other.name for other in others if other is not None and other.ending is None]
        instance = MemberInstance(self.slot, replacement=replacement, second=self.slot.name in names)
        instance.on_change = self._wake
        self._running.start_soon(self._run_until_end, instance, run_instance)
        return instance

    async def _run_until_end(self, instance: MemberInstance, run_instance: RunInstance) -> None:
        with instance.scope:
            instance.ending = await run_instance(instance)
        if instance.ending is None:  # cancelled: its mercy is over, or it has never served and is not needed any more
            late = f"it did not end within the mercy of {self._mercy:g} s"
            instance.ending = Died(late) if instance.ready else Stopped()
        if instance.drained:
            self._master.drained_instance_ended(instance, instance.ending)
            self._draining = None
        self._wake()

    # ----- replacing the holder without downtime

    async def prepare(self, run_instance: RunInstance) -> bool:
        """Start a replacement for the holder, and wait until it serves.

        Returns:
            False: it did not start, or the slot is to end; the holder keeps the slot.
        Cancellation: the replacement is cancelled; the holder keeps the slot.
        """
        await self.wait_drained()  # a slot never has three instances
        if self._stopping or not self._is_held():  # without a holder, the next instance is new in any case
            return not self._stopping
        replacement = self._replacement = self._start(run_instance, replacement=True)
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
                "%s is not replaced: its replacement ended before it served: %s", self.slot.name, replacement.ending
            )
        return False

    async def wait_drained(self) -> None:
        """Wait until the former holder, if there is one, has drained and ended."""
        await self._until(lambda: self._draining is None and self._next is None)

    def abandon_replacement(self) -> None:
        """Cancel the replacement, if one was prepared."""
        if self._replacement is not None:
            self._replacement.scope.cancel()
            self._replacement = None

    def drain(self) -> bool:
        """Drain the holder, and let the prepared replacement take over.

        Returns:
            False: there is no replacement, because the slot had no holder when `prepare` was called; now it has one.
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
            holder.scope.cancel()  # it has never served, so it has nothing to drain
        return True

    def _is_held(self) -> bool:
        holder = self.holder
        return holder is not None and holder.ending is None and self.slot.state is not SlotState.VACANT

    def _take_over(self, holder: MemberInstance, replacement: MemberInstance) -> MemberInstance:
        self._next = None
        if holder.drained and holder.ending is None:
            self._draining = holder
        elif isinstance(holder.ending, Died) and not holder.drained:
            self._master.member_died(self.slot, holder.ending.reason, 0)
        self.holder = replacement
        self._master.take_over(replacement)
        return replacement

    async def _release_when_idle(self) -> None:
        while True:
            with self._idling:
                await trio.sleep_forever()
            was, self._idling = self._idling, trio.CancelScope()  # its deadline is set when the member is idle again
            if trio.current_time() < was.deadline:  # the member did something in the instant of the deadline
                self._idling.deadline = was.deadline
            elif self._master.release(self.slot):
                return

    def _is_idle(self) -> None:
        self._idling.deadline = trio.current_time() + self._idle

    def _wake(self) -> None:
        self._changed.unpark_all()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.park()
