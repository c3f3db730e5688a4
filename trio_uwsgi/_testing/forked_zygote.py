"""Starts zygotes for `trio_uwsgi.testing` by forking the test's process.

In production a zygote is a new interpreter that imports the application, and this package never forks inside of a Trio
run (`_process/zygote.py` says why). The application, handlers and declarations of a test are closures, which another
interpreter could not import, so here the zygote is forked from the test. This is safe because the child never resumes
the Trio run that it was forked from: it discards the run, becomes a zygote, which uses no Trio, and ends by `os._exit`.
From there on everything is as in production, including the frames between the zygote and the master.
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

__all__ = ["forked_zygote_starter"]


def forked_zygote_starter(process_table: ProcessTable, run_zygote: Callable[[int], NoReturn]) -> StartZygote:
    """Return a function that starts zygotes by forking this process.

    Args:
        process_table: where the members' processes that a zygote forks and reaps are entered.
        run_zygote: called in the new process, with the descriptor of its end of the channel to the master.
    """

    async def start_zygote() -> tuple[ZygoteProcess, ZygoteChannel]:
        near, far = socket.socketpair()
        flush_output()
        pid = fork()
        if pid == 0:
            try:
                near.close()
                process_table.close_in_child()
                _discard_run()
                run_zygote(far.detach())
            except BaseException:
                traceback.print_exc()
                raise
            finally:  # no exception may leave this block and unwind into the test's frames
                flush_output()
                os._exit(1)
        far.close()
        process = _ForkedProcess(pid, process_table)
        return process, _ReportingChannel(near, process, process_table)

    return start_zygote


def _discard_run() -> None:
    """In the child: make sure that nothing of the run that was copied is run, collected or finalized."""
    signal.set_wakeup_fd(-1)
    trio._core._run.GLOBAL_RUN_CONTEXT.__dict__.clear()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
    atexit._clear()
    gc.freeze()


class _ForkedProcess:
    """A zygote that was forked from this process, with the part of `trio.Process` that its launcher uses."""

    def __init__(self, pid: int, process_table: ProcessTable) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(pid)
        self._wait_lock = trio.Lock()
        self._process_table = process_table
        self._ending = False

    def expect_end(self) -> None:
        """Count the zygote as ending, so that no time passes until it has ended."""
        if not self._ending and self.returncode is None:
            self._ending = True
            self._process_table.add_pending()

    async def wait(self) -> int:
        async with self._wait_lock:
            if self.returncode is None:
                await trio.lowlevel.wait_readable(self._pidfd)
                _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222  # it has ended
                os.close(self._pidfd)
                self.returncode = os.waitstatus_to_exitcode(status)
                if self._ending:
                    self._process_table.remove_pending()
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals, /) -> None:
        if self.returncode is None:
            send_signal(self._pidfd, self.pid, number)


class _ReportingChannel(ZygoteChannel):
    """A channel to the zygote that enters each process which is forked and reaped in the process table."""

    def __init__(self, near: socket.socket, process: _ForkedProcess, process_table: ProcessTable) -> None:
        super().__init__(trio.socket.from_stdlib_socket(near))
        self._process = process
        self._process_table = process_table
        self._children: dict[int, int] = {}  # process ids, by the zygote's number for the process
        self._awaited = 0  # answers to come: one for each fork, and the first, which says that the zygote is ready
        self._await_answer()

    async def send(self, data: bytes, descriptors: Sequence[int] = (), *, first: bytes = b"") -> None:
        if first or not descriptors:  # not a request to fork
            await super().send(data, descriptors, first=first)
            return
        self._await_answer()
        try:
            await super().send(data, descriptors)
        except ZygoteDied:
            self._answered()
            raise

    async def receive(self) -> tuple[ZygoteFrame, list[int]] | None:
        received = await super().receive()
        if received is None:
            self._end()
            return None
        frame, descriptors = received
        if isinstance(frame, Forked):
            self._children[frame.ident] = frame.pid
            self._process_table.forked(frame.pid, descriptors[0])
        if isinstance(frame, Exited):
            self._process_table.reaped(self._children.pop(frame.ident))
        else:
            self._answered()
        return received

    def finish(self) -> None:
        self._process.expect_end()
        super().finish()

    def _await_answer(self) -> None:
        self._awaited += 1
        self._process_table.add_pending()

    def _answered(self) -> None:
        self._awaited -= 1
        self._process_table.remove_pending()

    def _end(self) -> None:
        """The zygote has ended: it answers no more requests, and reports no more of its children."""
        self._process.expect_end()
        while self._awaited:
            self._answered()
        for pid in self._children.values():
            self._process_table.reaped(pid)
        self._children.clear()
