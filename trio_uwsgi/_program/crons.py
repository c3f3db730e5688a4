"""Run the shell commands of crons: as children of the server, which end with it, and whose output is logged."""

from __future__ import annotations

import dataclasses
import logging
import signal
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._program.shell_command import ended_with, run_shell_command, shortened
from trio_uwsgi._signals.schedule import Schedule
from trio_uwsgi._signals.ticker import Ticker, WallClock
from trio_uwsgi._signals.timer import Cron, Timer
from trio_uwsgi.config.cron import CronSpec

if TYPE_CHECKING:
    from datetime import tzinfo

    from trio_uwsgi._program.shell_command import Lifeline
    from trio_uwsgi.config.clock import CronCommand

__all__ = ["Crons"]

# Runs of one cron at a time; then runs that are due are left out. uWSGI has no such limit.
MOST_AT_ONCE = 16
_SYSTEM_CLOCK = WallClock(time.time)

logger = logging.getLogger("trio_uwsgi.cron")


class Crons:
    """The crons of a server that run commands.

    Args:
        given: when, and what.
        harakiri: the time limit in seconds of commands without one of their own; 0 is no limit.
        zone: the time zone; None is the system's.
        lifeline: of this process.
        wall: the time of day.
    """

    def __init__(
        self,
        given: Sequence[CronCommand],
        harakiri: float,
        zone: tzinfo | None,
        lifeline: Lifeline,
        wall: WallClock = _SYSTEM_CLOCK,
    ) -> None:
        self._harakiri = harakiri
        self._lifeline = lifeline
        self._ticker = Ticker(Schedule(zone), wall)
        self._commands: dict[Timer, CronCommand] = {}
        self._running: dict[Timer, int] = {}
        self._last: dict[Timer, tuple[int, int]] = {}  # process and time of the newest run
        self._now = wall.now
        for command in given:
            timer = Timer(0, Cron(command.spec), overlap=not command.unique)
            self._commands[timer] = command
            self._running[timer] = 0

    async def run(self) -> None:
        """Run what is due until cancelled; commands that run then get SIGTERM, and SIGKILL after 3 seconds."""
        async with trio.open_nursery() as nursery:
            self._ticker.raise_tick = lambda timer: nursery.start_soon(self._run, timer)
            for timer in self._commands:
                self._ticker.add(timer)
            nursery.start_soon(self._ticker.run)

    def statistics(self) -> list[dict[str, object]]:
        """For uWSGI's stats: of each when, what, and the process (-1: none runs) and the time of its newest run.

        A time in the form of a crontab is not five numbers, and is shown as it is.
        """
        found = []
        for timer, command in self._commands.items():
            spec = command.spec
            part: dict[str, object] = dataclasses.asdict(spec) if isinstance(spec, CronSpec) else {"crontab": spec.text}
            pid, started = self._last.get(timer, (-1, 0))
            part |= {"command": command.command, "unique": int(command.unique), "legion": ""}
            found.append(part | {"pid": pid if self._running[timer] else -1, "started_at": started})
        return found

    async def _run(self, timer: Timer) -> None:
        command = self._commands[timer]
        name = shortened(command.command)
        self._ticker.begun(timer)
        try:
            if self._running[timer] == MOST_AT_ONCE:
                logger.error("cron %s is left out, because %d of its runs have not ended", name, MOST_AT_ONCE)
                return
            self._running[timer] += 1
            try:
                await self._run_in_time(timer, name)
            except OSError as error:
                logger.error("cron %s cannot be run: %s", name, error)
            finally:
                self._running[timer] -= 1
        finally:
            self._ticker.ended(timer, True)

    async def _run_in_time(self, timer: Timer, name: str) -> None:
        command = self._commands[timer]
        limit = self._harakiri if command.harakiri is None else command.harakiri
        code = -signal.SIGTERM
        began = trio.current_time()
        with trio.move_on_after(limit or float("inf")) as scope:
            code = await run_shell_command(
                command.command,
                self._lifeline,
                partial(logger.info, "%s: %s", name),
                started=partial(self._started, timer, name),
            )
        if scope.cancelled_caught:
            logger.error("cron %s was ended, because it ran for longer than %g s", name, limit)
        else:
            level = logging.WARNING if code else logging.INFO
            logger.log(level, "cron %s ended with %s after %.1f s", name, ended_with(code), trio.current_time() - began)

    def _started(self, timer: Timer, name: str, pid: int) -> None:
        self._last[timer] = pid, int(self._now())
        logger.info("cron %s is process %d", name, pid)
