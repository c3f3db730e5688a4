"""Spoolers that are there only while their directory has work. Floor 3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from trio_uwsgi._core.seats import Seat, SeatState

if TYPE_CHECKING:
    from trio_uwsgi._core.roster import Roster
    from trio_uwsgi._runtime.crew import Crew
    from trio_uwsgi._tasks.spool import Spool

__all__ = ["hire_when_there_is_work"]


def hire_when_there_is_work(roster: Roster, crew: Crew, processes: int) -> None:
    """Hire a spooler when a directory has work that none of its spoolers is free for.

    Args:
        roster: who is there.
        crew: has the directories, and knows who is busy.
        processes: spoolers of each directory.
    """
    seats = roster.seats("spooler")
    for number, spool in enumerate(crew.services.spools.all):
        spool.on_work = partial(_hire_one, roster, crew, spool, seats[number * processes : (number + 1) * processes])


def _hire_one(roster: Roster, crew: Crew, spool: Spool, seats: Sequence[Seat]) -> None:
    vacant = [seat for seat in seats if seat.state is SeatState.VACANT]
    if vacant and len(seats) - len(vacant) <= crew.busy_spoolers(spool, seats):
        roster.hire(vacant[0])  # all who are there, or on their way, have a job
