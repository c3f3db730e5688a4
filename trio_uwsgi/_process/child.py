"""A child process of a zygote, as the master sees it.

The master notices its end through its pidfd. The exit status comes from the zygote, the child's parent, in a frame; or,
when the zygote has died, from the kernel, because the master then has adopted the child. Both are exact.

To end a child, the master closes its side of the stream `ctl`, and later sends SIGKILL through the pidfd.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
from types import TracebackType
from typing import Self

import trio

from trio_uwsgi._system.pidfds import send_signal
from trio_uwsgi._system.subreaper import OWN_CHILDREN
from trio_uwsgi._units.stack_dumps import STACKS, TASK_TREE

__all__ = ["KILL_TIMEOUT", "Child", "ExitStatus"]

logger = logging.getLogger("trio_uwsgi")

# All in seconds. A killed process ends within milliseconds, unless it hangs in the kernel (a dead network disk).
KILL_TIMEOUT = 10.0
# For a process that is not wanted any more to cancel what it runs: a spooler keeps its job, a worker logs its requests.
_CLOSE_GRACE = 1.0
# When the end is noticed, the zygote's frame about it is already on its way.
_REPORT_TIMEOUT = 1.0
# More than Python needs to print a task tree, and faulthandler to print the stacks.
_TREE_TIME, _STACKS_TIME = 0.3, 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: with an exit `code`, or killed by a `signal`. Both are None when that is unknown."""

    code: int | None = None
    signal: int | None = None

    @classmethod
    def of(cls, number: int) -> Self:
        """From an exit code, or minus the number of a posix signal."""
        return cls(code=number) if number >= 0 else cls(signal=-number)

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                return f"killed by {signal.Signals(self.signal).name}"
            except ValueError:  # a real-time one
                return f"killed by signal {self.signal}"
        return "exit status unknown" if self.code is None else f"exit code {self.code}"


class Child:
    """A process that a zygote has forked. As a context manager it is ended and closed at the block's end."""

    def __init__(self, name: str, ctl: trio.SocketStream, pid: int, pidfd: int, lifeline: int) -> None:
        self.name = name
        self.pid = pid
        self.ctl = ctl
        self._pidfd = pidfd  # -1: the child has ended
        self._lifeline = lifeline
        self._report: ExitStatus | None = None
        self._reported = trio.Event()
        self._ended = trio.Event()
        self.status: ExitStatus | None = None
        OWN_CHILDREN.add(pid)

    def __repr__(self) -> str:
        return f"<Child {self.name}, process {self.pid}: {self.status or 'running'}>"

    async def wait(self) -> ExitStatus:
        """Wait for its end. Any number of tasks may wait. Checkpoint: always."""
        await self._ended.wait()
        assert self.status is not None
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a posix signal; after its end this does nothing, even if its pid is reused. Checkpoint: never."""
        if self._pidfd >= 0:
            send_signal(self._pidfd, self.pid, number)

    def request_stop(self) -> None:
        """Close the stream in one direction, which asks it to end. What it still sends arrives."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):  # either side has closed it already
            self.ctl.socket.shutdown(socket.SHUT_WR)

    async def dump_stacks(self) -> None:
        """Have it print its Trio tasks, and then the stacks of all its threads, on its standard error.

        Checkpoint: always, for half a second, which a stuck process may need.
        """
        self.kill(TASK_TREE)
        await trio.sleep(_TREE_TIME)
        self.kill(STACKS)
        await trio.sleep(_STACKS_TIME)

    async def end(self, grace: float, *, dump: bool = True) -> ExitStatus:
        """Ask it to end; after `grace` seconds have it print its stacks, and kill it.

        Cancellation: cuts grace and dumps short. The process is still killed and waited for.
        """
        try:
            self.request_stop()
            with trio.move_on_after(grace):
                return await self.wait()
            if dump:
                logger.warning(
                    "%s (process %d) did not end within %g s and is killed; its stacks follow",
                    self.name,
                    self.pid,
                    grace,
                )
                await self.dump_stacks()
        finally:
            if self.status is None:
                self.kill()
                with trio.move_on_after(KILL_TIMEOUT, shield=True):
                    await self._ended.wait()
        if self.status is None:
            logger.critical("%s (process %d) was killed but does not end", self.name, self.pid)
            return ExitStatus()
        return self.status

    async def aclose(self) -> None:
        """End it, and close its stream; it is killed if it does not cancel what it runs in time.

        Checkpoint: always, shielded and bounded.
        """
        with trio.CancelScope(shield=True):
            await self.end(_CLOSE_GRACE, dump=False)
            await trio.aclose_forcefully(self.ctl)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def watch(self, orphaned: trio.Event) -> None:
        """Wait for its end, and find out its status. `orphaned` is set when the zygote will not send it any more."""
        await trio.lowlevel.wait_readable(self._pidfd)
        with trio.move_on_after(_REPORT_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for event in (self._reported, orphaned):
                    nursery.start_soon(_cancel_when_set, event, nursery.cancel_scope)
        self.finish(self._report or self._status_from_kernel())

    def _status_from_kernel(self) -> ExitStatus:
        """The status of a child that this process has adopted, because the zygote died before it reaped it."""
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:  # the zygote reaped it, and died before it could send the status
            return ExitStatus()
        if result is None:
            return ExitStatus()
        return (
            ExitStatus(code=result.si_status)
            if result.si_code == os.CLD_EXITED
            else ExitStatus(signal=result.si_status)
        )

    def report(self, status: int) -> None:
        """Take the status that the zygote sent."""
        self._report = ExitStatus.of(status)
        self._reported.set()

    def finish(self, status: ExitStatus) -> None:
        """After its end: close everything but the stream, in which its last frames may still be."""
        self.status = status
        os.close(self._pidfd)
        os.close(self._lifeline)
        self._pidfd = -1
        OWN_CHILDREN.discard(self.pid)
        self._ended.set()


async def _cancel_when_set(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
