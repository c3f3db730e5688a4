"""A child process, as the master holds it.

Its end is seen through its pidfd, and only there. Its status comes as a report of the zygote, which is its parent, or,
when the zygote has died, from the kernel: this process then has adopted it. Both are exact.

What ends it: `ctl` reaching its end (it is asked to leave), then SIGKILL through the pidfd.
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

# All in seconds. A killed process is gone within milliseconds, unless it hangs in the kernel (a dead network disk).
KILL_TIMEOUT = 10.0
# The report of a death is on its way when the death is seen.
_REPORT_TIMEOUT = 1.0
# Python writes a task tree in less, and faulthandler too.
_TREE_TIME, _STACKS_TIME = 0.3, 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: `code` says how it left, or `signal` what killed it. Neither is known when both are None."""

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
    """A process that a zygote has forked. As a context it is ended and closed at the block's end."""

    def __init__(self, name: str, ctl: trio.SocketStream, pid: int, pidfd: int, lifeline: int) -> None:
        self.name = name
        self.pid = pid
        self.ctl = ctl
        self._pidfd = pidfd  # -1: the child has ended, and is nobody any more
        self._lifeline = lifeline
        self._report: ExitStatus | None = None
        self._reported = trio.Event()
        self._ended = trio.Event()
        self.status: ExitStatus | None = None
        OWN_CHILDREN.add(pid)

    def __repr__(self) -> str:
        return f"<Child {self.name}, process {self.pid}: {self.status or 'running'}>"

    @property
    def _who(self) -> tuple[str, int]:
        return self.name, self.pid

    async def wait(self) -> ExitStatus:
        """Wait for its end. Any number of tasks may. Checkpoint: always."""
        await self._ended.wait()
        assert self.status is not None
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a posix signal; nothing happens after its end, whoever has its pid then. Checkpoint: never."""
        if self._pidfd >= 0:
            send_signal(self._pidfd, self.pid, number)

    def request_stop(self) -> None:
        """Let it read the end of its stream: it is to leave. What it says until then still arrives."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):  # it, or we, closed it before
            self.ctl.socket.shutdown(socket.SHUT_WR)

    async def dump_stacks(self) -> None:
        """Let it print its Trio tasks, and then the stacks of all its threads, where its standard error goes.

        Checkpoint: always, for half a second, which is what a stuck process may need.
        """
        self.kill(TASK_TREE)
        await trio.sleep(_TREE_TIME)
        self.kill(STACKS)
        await trio.sleep(_STACKS_TIME)

    async def end(self, grace: float, *, dump: bool = True) -> ExitStatus:
        """Ask it to leave, and kill it if it is still there after `grace` seconds, with its stacks printed before.

        Cancellation: cuts grace and dumps short. It is killed, and waited for, all the same.
        """
        try:
            self.request_stop()
            with trio.move_on_after(grace):
                return await self.wait()
            if dump:
                logger.warning(
                    "%s (process %d) did not leave within %g s; its stacks follow", self.name, self.pid, grace
                )
                await self.dump_stacks()
        finally:
            if self.status is None:
                self.kill()
                with trio.move_on_after(KILL_TIMEOUT, shield=True):
                    await self._ended.wait()
        if self.status is None:
            logger.critical("%s, process %d, is killed, and does not end", *self._who)
            return ExitStatus()
        return self.status

    async def aclose(self) -> None:
        """End it at once if it is still there, and close its stream. Checkpoint: always, shielded and bounded."""
        with trio.CancelScope(shield=True):
            await self.end(0, dump=False)
            await trio.aclose_forcefully(self.ctl)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def watch(self, orphaned: trio.Event) -> None:
        """See its end, and find out its status. `orphaned` is set when no report will come any more."""
        await trio.lowlevel.wait_readable(self._pidfd)
        with trio.move_on_after(_REPORT_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for event in (self._reported, orphaned):
                    nursery.start_soon(_cancel_when_set, event, nursery.cancel_scope)
        self.finish(self._report or self._status_from_kernel())

    def _status_from_kernel(self) -> ExitStatus:
        """The zygote died before it reaped this child, which is ours since then."""
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:  # the zygote reaped it, and died before it could say so
            return ExitStatus()
        if result is None:
            return ExitStatus()
        return (
            ExitStatus(code=result.si_status)
            if result.si_code == os.CLD_EXITED
            else ExitStatus(signal=result.si_status)
        )

    def report(self, status: int) -> None:
        """The zygote says how it ended."""
        self._report = ExitStatus.of(status)
        self._reported.set()

    def finish(self, status: ExitStatus) -> None:
        """It has ended: let go of everything but the stream, in which its last words may still be."""
        self.status = status
        os.close(self._pidfd)
        os.close(self._lifeline)
        self._pidfd = -1
        OWN_CHILDREN.discard(self.pid)
        self._ended.set()


async def _cancel_when_set(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
