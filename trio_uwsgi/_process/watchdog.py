"""The watchdog: kills members whose event loop is blocked beyond their time limit (harakiri).

Code that awaits is cancelled within the member when its time limit ends. Code that does not await (a call that sleeps,
a busy loop, C code that holds the GIL) cannot be cancelled there, and blocks the member's event loop. So the master
checks the members' heartbeats in shared memory four times a second, because it cannot wait for a change of memory, and
at the earliest moment at which a limit may end. A member that is over its limit is logged, prints its stacks, and is
killed; its supervisor replaces it at once. If its loop runs again before the stacks are printed, it is not killed.

The limit does not count while a member starts (imports and lifespans take their time) or cannot run. A member that was
stopped (SIGSTOP, a debugger) gets its whole time limit again when it continues, and so do all members after the master
itself was stopped or starved (^Z, a paused virtual machine). The clock does not run while the machine is suspended.
Time that a process waits in the kernel, for example for a dead network disk, does count.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.access_line import escape
from trio_uwsgi._process.watchdog_rules import BlockedLimit

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Row
    from trio_uwsgi._process.child import Child

__all__ = ["Watchdog", "Watched"]

logger = logging.getLogger("trio_uwsgi")

# Most seconds between two checks.
INTERVAL = 0.25
# Seconds since the last check after which this process, and perhaps the members too, could not run in between.
OWN_PAUSE = 1.0


class Watched:
    """One watched member.

    Its limit counts once `started` is True. `kill_reason` says why it was killed; empty if it was not.
    """

    def __init__(self, child: Child, row: Row, limit: float) -> None:
        self.child = child
        self.started = False
        self.kill_reason = ""
        self._row = row
        self._blocked_limit = BlockedLimit(limit)
        self._ending = False

    def restart_limit(self, now: float) -> None:
        """Start its time limit anew, because it could not run until now."""
        self._blocked_limit.restart(now)

    def due(self) -> float:
        """When it is to be killed, unless there is another heartbeat."""
        if self._ending or not self.started:
            return math.inf
        return self._blocked_limit.due(self._row.get("heartbeat"), self._row.get("deadline"))

    def is_due(self, now: float) -> bool:
        """Whether it is to be killed now. To be called four times a second."""
        if now - self._row.get("heartbeat") > INTERVAL and _is_stopped(self.child.pid):
            self.restart_limit(now)
        return self.due() <= now

    async def end(self) -> None:
        """Log it, have the member print its stacks, and kill it, unless its loop runs again by then."""
        now = time.monotonic()
        self._ending = True
        row = self._row
        heartbeat, deadline = row.get("heartbeat"), row.get("deadline")
        doing = escape(row.read())
        by = f" by {doing}" if doing else ""
        if heartbeat < deadline <= now and self._blocked_limit.due(heartbeat, 0) > now:
            why = f"blocked{by} for {now - deadline:.1f} s beyond the deadline that it set for itself"
        else:
            why = f"blocked{by} for {now - heartbeat:.1f} s"
        logger.error("harakiri on %s (process %d): %s; its stacks follow", self.child.name, self.child.pid, why)
        await self.child.dump_stacks()
        if row.get("heartbeat") > heartbeat:
            logger.warning("%s is no longer blocked and keeps running", self.child.name)
            self._ending = False
            return
        self.kill_reason = f"harakiri: {why}"
        self.child.kill()


class Watchdog:
    """Watches the members of one generation.

    Args:
        limits: seconds that a loop may be blocked, by kind of member; 0 is no limit.
        look: is called with each check, for what else nobody reports.
    """

    def __init__(self, limits: Mapping[str, float], look: Callable[[], None]) -> None:
        self._limits = limits
        self._look = look
        self._watched: dict[Watched, None] = {}

    @contextlib.contextmanager
    def watching(self, child: Child, kind: str, row: Row) -> Iterator[Watched]:
        """Watch a member while the block runs."""
        watched = Watched(child, row, self._limits[kind])
        self._watched[watched] = None
        try:
            yield watched
        finally:
            del self._watched[watched]

    async def serve(self) -> None:
        """Check all members, until cancelled."""
        last_check = time.monotonic()
        async with trio.open_nursery() as nursery:
            while True:
                due = min((watched.due() for watched in self._watched), default=math.inf)
                await trio.sleep(max(0.01, min(INTERVAL, due - time.monotonic())))
                now = time.monotonic()
                for watched in self._watched:
                    if now - last_check > OWN_PAUSE:
                        watched.restart_limit(now)
                    if watched.is_due(now):
                        nursery.start_soon(watched.end)
                self._look()
                last_check = now


def _is_stopped(pid: int) -> bool:
    """Whether the process is stopped or traced."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"
