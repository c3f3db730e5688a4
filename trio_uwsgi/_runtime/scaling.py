"""The members of one kind while the runtime serves, and how there is one worker more, or one less.

A worker that is added has the lowest number that is free, and nothing else is special about it. It is the one with the
highest number that leaves: it is given nothing any more, ends what it runs within the mercy, while its clients find the
others, and then its number is free.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

    from trio_uwsgi._runtime.dispatcher import Dispatcher
    from trio_uwsgi._runtime.rolling_restart import RollingRestart
    from trio_uwsgi._runtime.slots import Slot
    from trio_uwsgi._runtime.supervisor import Supervisor
    from trio_uwsgi._signals.targets import Kind

__all__ = ["MOST_ADDED", "MemberGroup"]

logger = logging.getLogger("trio_uwsgi")

# Workers that may be added to those that were configured: there is a row on the board for each from the start.
MOST_ADDED = 16


class MemberGroup:
    """The members of one kind, and who looks after them.

    Args:
        kind: of these.
        roster: where their seats are.
        supervise: makes what looks after a seat.
        succession: who follows whom, where members can be followed.
    """

    def __init__(
        self,
        kind: Kind,
        dispatcher: Dispatcher,
        supervise: Callable[[Slot], Supervisor],
        rolling_restart: RollingRestart | None,
    ) -> None:
        self._kind = kind
        self._dispatcher = dispatcher
        self._supervise = supervise
        self._rolling_restart = rolling_restart
        self._most = len(dispatcher.slots(kind)) + MOST_ADDED
        self._there: dict[int, Supervisor] = {}  # by number; also those who are to leave, until they have
        self._nursery: trio.Nursery

    def start(self, nursery: trio.Nursery) -> None:
        """Have the members that were configured."""
        self._nursery = nursery
        for slot in self._dispatcher.slots(self._kind):
            self._begin(slot)

    @property
    def slots(self) -> list[Slot]:
        """Where somebody is, or may come."""
        return [supervisor.slot for supervisor in self._there.values()]

    def stop(self) -> None:
        """Let all of them end what they do."""
        for supervisor in self._there.values():
            supervisor.stop()

    def add(self) -> None:
        """Have one more, when no reload is on its way. Never waits; says so where there may be no more."""
        self._in_turn(self._add)

    def remove(self) -> None:
        """Have one less, when no reload is on its way. Never waits; says so where there is only one."""
        self._in_turn(self._remove)

    def _in_turn(self, order: Callable[[], None]) -> None:
        if self._rolling_restart is None:
            order()
        else:
            self._rolling_restart.between(order)

    def _add(self) -> None:
        free = (number for number in range(1, self._most + 1) if number not in self._there)
        number = next(free, None)
        if number is None:
            logger.error("no %s is added: %d are the most there can be; configure more", self._kind, self._most)
            return
        slot = self._dispatcher.add(self._kind, number)
        self._begin(slot)
        logger.info("%s is added, of %d", slot.name, len(self._dispatcher.slots(self._kind)))

    def _remove(self) -> None:
        *others, slot = self._dispatcher.slots(self._kind)
        if not others:
            logger.warning("%s stays: it is the only one", slot.name)
            return
        self._dispatcher.remove(slot)
        supervisor = self._there[slot.number]
        if self._rolling_restart is not None:
            self._rolling_restart.remove(supervisor)
        supervisor.dismiss()
        logger.info("%s leaves, and %d stay", slot.name, len(others))

    def _begin(self, slot: Slot) -> None:
        supervisor = self._there[slot.number] = self._supervise(slot)
        if self._rolling_restart is not None:
            self._rolling_restart.add([supervisor])
        self._nursery.start_soon(self._look_after, supervisor)

    async def _look_after(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        finally:
            del self._there[supervisor.slot.number]
