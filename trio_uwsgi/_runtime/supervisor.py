"""Who looks after one seat: lives on it, one after the other, from the start of the runtime to its end. Floor 3.

Theory. A placement is one awaited call that lasts as long as one life and says how that ended. Here is what follows
from it:

    told to stop    the member had its time; the seat ends, unless something came for it meanwhile: one more life has it
    left, idle      the seat is vacant until the roster hires somebody for it
    died            what it ran is dealt with, and there is a new life: at once, or after a pause if it died young

Nothing on the seat is touched by the end of a life but what it ran. A bug in a member is no death: it goes through here
and ends the runtime.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._core.backoff import next_pause
from trio_uwsgi._core.seats import SeatState
from trio_uwsgi._runtime.placement import Died, Ending

if TYPE_CHECKING:
    from trio_uwsgi._core.seats import Seat
    from trio_uwsgi._runtime.master import Master

__all__ = ["Supervisor"]

logger = logging.getLogger("trio_uwsgi")


class Supervisor:
    """The supervision of one seat.

    Args:
        seat: the seat.
        master: told of deaths, and of the end.
        live: places a member on the seat, and returns when that has ended, with how.
        idle: seconds after which a member of a spare seat that has nothing to do is let go; inf leaves that to the
            member, which may ask.
    """

    def __init__(self, seat: Seat, master: Master, live: Callable[[], Awaitable[Ending]], idle: float) -> None:
        self._seat = seat
        self._master = master
        self._live = live
        self._idle = idle
        self._idling = trio.CancelScope()  # its deadline is when the member has been idle for long enough
        self._wake = trio.Event()
        self._stopping = False
        seat.on_hired = self._awake
        if seat.spare and idle < math.inf:
            seat.on_idle = self._is_idle

    def stop(self) -> None:
        """Let the member that is there, and one that comes for what waits, end what they do; and then the seat."""
        self._stopping = True
        self._awake()
        self._master.stop(self._seat)

    async def run(self) -> None:
        """Have somebody on the seat, or nobody while it is vacant, until `stop`. A cancellation ends the seat at once.

        Raises:
            What a placement raises: a bug.
        """
        seat = self._seat
        pause = 0.0
        try:
            while seat.load or not self._stopping:
                if seat.state is SeatState.VACANT:
                    await self._asleep(math.inf)
                    continue
                began = trio.current_time()
                ending = await self._one_life()
                pause = next_pause(pause, trio.current_time() - began)
                if isinstance(ending, Died):
                    self._master.bury(seat, ending.reason, None if self._stopping else pause)
                    if self._stopping:
                        break
                    await self._asleep(pause)
        finally:
            self._master.retire(seat)

    async def _one_life(self) -> Ending:
        if self._seat.on_idle is None:
            return await self._live()
        self._idling = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._let_go_when_idle)
            ending = await self._live()
            nursery.cancel_scope.cancel()
        return ending

    async def _let_go_when_idle(self) -> None:
        while True:
            with self._idling:
                await trio.sleep_forever()
            was, self._idling = self._idling, trio.CancelScope()  # whose deadline is set when it is idle again
            if trio.current_time() < was.deadline:  # it did something in the instant in which its time was up
                self._idling.deadline = was.deadline
            elif self._master.let_go(self._seat):
                return

    def _is_idle(self) -> None:
        self._idling.deadline = trio.current_time() + self._idle

    def _awake(self) -> None:
        self._wake.set()

    async def _asleep(self, seconds: float) -> None:
        self._wake = trio.Event()
        if self._stopping:
            return
        with trio.move_on_after(seconds):
            await self._wake.wait()
