"""Harakiri from outside: ends members whose loop is blocked for too long.

What awaits is ended inside of the member by its cancel scope. Code that does not await (a call that sleeps, a busy
loop, C code that keeps the GIL) cannot be ended there, and keeps the loop from everything else. So the master looks at
the members' signs of life in shared memory, four times a second, because memory cannot be waited for, and when the
first of them would be due. What is due is named in the log, prints its stacks, and is killed; its supervisor replaces
it at once. One that comes back while its stacks are printed lives on.

Who is not judged: a member that is starting (imports and lifespans take their time), and one that cannot run. A member
that is stopped (SIGSTOP, a debugger) has its time anew when it goes on, and so has everybody after the master itself
was stopped or starved (^Z stops all, as does a paused virtual machine). A suspended machine's clock stands still.
What a process waits for in the kernel, a dead network disk say, does count: it is what the limit is for.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.access_record import escape
from trio_uwsgi._process.blocked import BlockedLimit

if TYPE_CHECKING:
    from trio_uwsgi._link.scoreboard import Row
    from trio_uwsgi._process.child import Child

__all__ = ["Watchdog", "Watched"]

logger = logging.getLogger("trio_uwsgi")

# Seconds between two looks, at most.
INTERVAL = 0.25
# A look that comes so much later says that this process could not run, and the members perhaps could not either.
OWN_PAUSE = 1.0


class Watched:
    """One member under watch.

    `started` says that it has started, and so is judged. `kill_reason` says why it was ended; empty if it was not.
    """

    def __init__(self, child: Child, row: Row, limit: float) -> None:
        self.child = child
        self.started = False
        self.kill_reason = ""
        self._row = row
        self._blocked_limit = BlockedLimit(limit)
        self._ending = False

    def restart_limit(self, now: float) -> None:
        """It could not run until now."""
        self._blocked_limit.restart(now)

    def due(self) -> float:
        """When it is to be ended, as it looks now."""
        if self._ending or not self.started:
            return math.inf
        return self._blocked_limit.due(self._row.get("heartbeat"), self._row.get("deadline"))

    def is_due(self, now: float) -> bool:
        """Is it to be ended? To be called four times a second."""
        if now - self._row.get("heartbeat") > INTERVAL and _is_stopped(self.child.pid):
            self.restart_limit(now)
        return self.due() <= now

    async def end(self) -> None:
        """Say so, let it print its stacks, and kill it, unless it has come back by then."""
        now = time.monotonic()
        self._ending = True
        row = self._row
        heartbeat, deadline = row.get("heartbeat"), row.get("deadline")
        doing = escape(row.read())
        by = f" by {doing}" if doing else ""
        if heartbeat < deadline <= now and self._blocked_limit.due(heartbeat, 0) > now:
            why = f"blocked{by} for {now - deadline:.3f} s beyond the deadline that it set for itself"
        else:
            why = f"blocked{by} for {now - heartbeat:.3f} s"
        logger.error("harakiri on %s (process %d): %s; its stacks follow", self.child.name, self.child.pid, why)
        await self.child.dump_stacks()
        if row.get("heartbeat") > heartbeat:
            logger.warning("%s came back by itself, and lives on", self.child.name)
            self._ending = False
            return
        self.kill_reason = f"harakiri: {why}"
        self.child.kill()


class Watchdog:
    """Watches the members of one generation.

    Args:
        limits: seconds that a loop may be blocked, by kind of member; 0 is no limit.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = limits
        self._watched: dict[Watched, None] = {}

    @contextlib.contextmanager
    def watching(self, child: Child, kind: str, row: Row) -> Iterator[Watched]:
        """Watch a member during the block."""
        watched = Watched(child, row, self._limits[kind])
        self._watched[watched] = None
        try:
            yield watched
        finally:
            del self._watched[watched]

    async def serve(self) -> None:
        """Look after all of them, until cancelled."""
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
                last_check = now


def _is_stopped(pid: int) -> bool:
    """Is the process stopped, or traced?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"
