"""A member group: the members of one kind while the runtime serves; adds and removes workers.

An added worker has the lowest free number and is otherwise a normal worker. The worker with the highest number is the
one that is removed: it gets nothing new, ends what it runs within the mercy while its clients reconnect to the others,
and then its number is free.
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

# Workers that may be added to the configured ones: the scoreboard has a row for each from the start.
MOST_ADDED = 16


class MemberGroup:
    """The members of one kind, with a supervisor for each slot.

    Args:
        kind: the kind of the members.
        dispatcher: has their slots.
        make_supervisor: makes the supervisor of a slot.
        rolling_restart: replaces members, where they are processes.
    """

    def __init__(
        self,
        kind: Kind,
        dispatcher: Dispatcher,
        make_supervisor: Callable[[Slot], Supervisor],
        rolling_restart: RollingRestart | None,
    ) -> None:
        self._kind = kind
        self._dispatcher = dispatcher
        self._make_supervisor = make_supervisor
        self._rolling_restart = rolling_restart
        self._most = len(dispatcher.slots(kind)) + MOST_ADDED
        self._supervisors: dict[int, Supervisor] = {}  # by number; also of removed members until they have ended
        self._nursery: trio.Nursery

    def start(self, nursery: trio.Nursery) -> None:
        """Start the configured members."""
        self._nursery = nursery
        for slot in self._dispatcher.slots(self._kind):
            self._start(slot)

    @property
    def slots(self) -> list[Slot]:
        """The slots that have not ended."""
        return [supervisor.slot for supervisor in self._supervisors.values()]

    def stop(self, mercy: float) -> None:
        """Stop all of them gracefully."""
        for supervisor in self._supervisors.values():
            supervisor.stop(mercy)

    def add(self) -> None:
        """Add a member, after the reload in progress if there is one. Never waits; logs if there may be no more."""
        self._between_reloads(self._add)

    def remove(self) -> None:
        """Remove a member, after the reload in progress if there is one. Never waits; logs if there is only one."""
        self._between_reloads(self._remove)

    def _between_reloads(self, call: Callable[[], None]) -> None:
        if self._rolling_restart is None:
            call()
        else:
            self._rolling_restart.call_between(call)

    def _add(self) -> None:
        free = (number for number in range(1, self._most + 1) if number not in self._supervisors)
        number = next(free, None)
        if number is None:
            logger.error("cannot add a %s: at most %d can run; start the server with more", self._kind, self._most)
            return
        slot = self._dispatcher.add(self._kind, number)
        self._start(slot)
        logger.info("adding %s (%ss: %d)", slot.name, self._kind, len(self._dispatcher.slots(self._kind)))

    def _remove(self) -> None:
        *others, slot = self._dispatcher.slots(self._kind)
        if not others:
            logger.warning("%s is not removed: it is the only %s", slot.name, self._kind)
            return
        self._dispatcher.remove(slot)
        supervisor = self._supervisors[slot.number]
        if self._rolling_restart is not None:
            self._rolling_restart.remove(supervisor)
        supervisor.stop_alone()
        logger.info("removing %s (%ss: %d)", slot.name, self._kind, len(others))

    def _start(self, slot: Slot) -> None:
        supervisor = self._supervisors[slot.number] = self._make_supervisor(slot)
        if self._rolling_restart is not None:
            self._rolling_restart.add([supervisor])
        self._nursery.start_soon(self._supervise, supervisor)

    async def _supervise(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        finally:
            del self._supervisors[supervisor.slot.number]
