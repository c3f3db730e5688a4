"""Writes the lines of an access log: those of each turn of the event loop in one call, before the loop waits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_uwsgi._http.access_log import AccessLog

__all__ = ["write_turns"]


# Seconds until the log is tried again, where the system cannot say when it takes lines.
_RETRY = 1.0


async def write_turns(log: AccessLog) -> None:
    """Write lines until cancelled, and then the rest. What the log does not take is written as soon as it does."""
    end = _TurnEnd(log)
    trio.lowlevel.add_instrument(end)
    try:
        while True:
            await end.stuck.park()
            while not log.write():
                await _wait_writable(log)
    finally:
        trio.lowlevel.remove_instrument(end)
        log.write()


async def _wait_writable(log: AccessLog) -> None:
    try:
        descriptor = os.dup(log.descriptor())  # other workers of this process may wait for it, too
    except (OSError, ValueError):  # too many files are open, or the application has closed the log
        await trio.sleep(_RETRY)
        return
    try:
        await trio.lowlevel.wait_writable(descriptor)
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)


class _TurnEnd(trio.abc.Instrument):
    """A task would be a turn late, and cost as much as some requests."""

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self._token = trio.lowlevel.current_trio_token()
        self.stuck = trio.lowlevel.ParkingLot()  # whoever waits for a log that does not take lines

    def before_io_wait(self, timeout: float) -> None:
        """See `trio.abc.Instrument`."""
        if self._log.has_lines and not self._log.write() and self.stuck:
            self._token.run_sync_soon(self.stuck.unpark_all)  # it wakes the loop, which would wait otherwise
