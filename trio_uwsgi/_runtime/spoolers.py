"""All spoolers of a runtime: starts cheap spoolers when there is work, and sets how often directories are scanned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from trio_uwsgi._link.frames import SpoolerFrequency
from trio_uwsgi._runtime.member_instance import second_name
from trio_uwsgi._runtime.slots import Slot, SlotState

if TYPE_CHECKING:
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._spool.directories import Spools
    from trio_uwsgi._spool.directory import Spool

__all__ = ["Spoolers"]


class Spoolers:
    """What the runtime does for its spoolers.

    Args:
        master: has their slots, and sends frames to those that are processes.
        spools: the directories.
        processes: spoolers of each directory.
    """

    def __init__(self, master: Master, spools: Spools, processes: int) -> None:
        self._master = master
        self._spools = spools
        self._processes = processes

    def activate_when_there_is_work(self) -> None:
        """Start cheap spoolers when their directory has work."""
        slots = self._master.dispatcher.slots("spooler")
        count = self._processes
        for number, spool in enumerate(self._spools.all):
            spool.on_work = partial(self._activate_for, spool, slots[number * count : (number + 1) * count])

    def _activate_for(self, spool: Spool, slots: Sequence[Slot]) -> None:
        """Have a spooler for each job that is due or runs, as far as there are slots. Starting ones count."""
        vacant = [slot for slot in slots if slot.state is SlotState.VACANT]
        running = len(slots) - len(vacant)
        for slot in vacant[: max(0, spool.unfinished - running)]:
            self._master.dispatcher.activate(slot)

    def send_frequency(self, seconds: float) -> None:
        """A member has set how often directories are scanned: pass it on, here and to spoolers that are processes."""
        self._spools.apply_frequency(seconds)
        for slot in self._master.dispatcher.slots("spooler"):
            for name in (slot.name, second_name(slot.name)):
                self._master.send(name, SpoolerFrequency(seconds))
