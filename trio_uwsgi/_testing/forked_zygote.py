"""A zygote that is forked from this process, with the application that is here.

Only for `trio_uwsgi.testing`. Product code never forks inside of a Trio run (`zygote.py` says why). A test does: its
application, handlers and declarations are closures, which no other interpreter could import. What makes that possible
is that the child never goes on with what it was forked from: it forgets the run, becomes a zygote, which has no Trio,
and ends by `os._exit`. From there on everything is as in production, and so are the frames between the two.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import trio
import trio._core._run

from trio_uwsgi._process.zygote_channel import ZygoteChannel, ZygoteDied
from trio_uwsgi._process.zygote_frames import Exited, Forked, ZygoteFrame
from trio_uwsgi._system.forks import fork
from trio_uwsgi._system.interpreter_exit import flush_output
from trio_uwsgi._system.pidfds import send_signal

if TYPE_CHECKING:
    from trio_uwsgi._process.zygote_start import StartZygote, ZygoteProcess
    from trio_uwsgi._testing.process_table import ProcessTable

__all__ = ["forking"]


def forking(process_table: ProcessTable, become: Callable[[int], NoReturn]) -> StartZygote:
    """Zygotes that are forked from this process.

    Args:
        company: told of each child that the zygote forks and reaps.
        become: called in the new process, with the descriptor of its end of the line; to be a zygote.
    """

    async def start_zygote() -> tuple[ZygoteProcess, ZygoteChannel]:
        near, far = socket.socketpair()
        flush_output()
        pid = fork()
        if pid == 0:
            try:
                near.close()
                process_table.forget()
                _forget_the_run()
                become(far.detach())
            except BaseException:
                traceback.print_exc()
                raise
            finally:  # not after it: nothing may unwind any further, into the test's frames
                flush_output()
                os._exit(1)
        far.close()
        process = _ForkedProcess(pid, process_table)
        return process, _Channel(near, process, process_table)

    return start_zygote


def _forget_the_run() -> None:
    """In the child: what is left of the run in memory is not run, collected or finalized any more."""
    signal.set_wakeup_fd(-1)
    trio._core._run.GLOBAL_RUN_CONTEXT.__dict__.clear()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
    atexit._clear()
    gc.freeze()


class _ForkedProcess:
    """A child of this process, as far as a `trio.Process` is one."""

    def __init__(self, pid: int, process_table: ProcessTable) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(pid)
        self._turn = trio.Lock()
        self._process_table = process_table
        self._leaves = False

    def leaves(self) -> None:
        """It is about to end."""
        if not self._leaves and self.returncode is None:
            self._leaves = True
            self._process_table.await_something()

    async def wait(self) -> int:
        async with self._turn:
            if self.returncode is None:
                await trio.lowlevel.wait_readable(self._pidfd)
                _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222  # it has ended
                os.close(self._pidfd)
                self.returncode = os.waitstatus_to_exitcode(status)
                if self._leaves:
                    self._process_table.await_no_more()
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals, /) -> None:
        if self.returncode is None:
            send_signal(self._pidfd, self.pid, number)


class _Channel(ZygoteChannel):
    """A line that tells the company who is being forked, is there, and has been reaped."""

    def __init__(self, near: socket.socket, process: _ForkedProcess, process_table: ProcessTable) -> None:
        super().__init__(trio.socket.from_stdlib_socket(near))
        self._process = process
        self._process_table = process_table
        self._children: dict[int, int] = {}  # processes, by the zygote's number for them
        self._awaited = 0  # answers to forks, and the first one, that it is a zygote now
        self._await_answer()

    async def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        if not descriptors:  # no fork
            await super().send(data)
            return
        self._await_answer()
        try:
            await super().send(data, descriptors)
        except ZygoteDied:
            self._answered()
            raise

    async def receive(self) -> tuple[ZygoteFrame, list[int]] | None:
        parcel = await super().receive()
        if parcel is None:
            self._end()
            return None
        frame, descriptors = parcel
        if isinstance(frame, Forked):
            self._children[frame.ident] = frame.pid
            self._process_table.forked(frame.pid, descriptors[0])
        if isinstance(frame, Exited):
            self._process_table.reaped(self._children.pop(frame.ident))
        else:
            self._answered()
        return parcel

    def finish(self) -> None:
        self._process.leaves()
        super().finish()

    def _await_answer(self) -> None:
        self._awaited += 1
        self._process_table.await_something()

    def _answered(self) -> None:
        self._awaited -= 1
        self._process_table.await_no_more()

    def _end(self) -> None:
        """The zygote is gone. What it was asked for does not come; of its children nobody will hear by this way."""
        self._process.leaves()
        while self._awaited:
            self._answered()
        for pid in self._children.values():
            self._process_table.reaped(pid)
        self._children.clear()
