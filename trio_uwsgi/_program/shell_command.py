"""A shell command that runs as a child of the server: its output is logged, and it never outlives the server.

Theory. The command is the leader of a session of its own, so that all that it starts is in one process group, which can
be ended as a whole. But whoever is killed with SIGKILL ends nobody. So a second process of this group, the watcher,
reads from a pipe that only the server can write to, and never writes to. When the server's process ends, whatever the
reason, the kernel closes the pipe; the watcher's read returns, and it ends the group.

The kernel's own means for this (PR_SET_PDEATHSIG) is not enough: it exists on Linux only, a sandbox may refuse it, it
signals one process and not its children, and it fires when the *thread* ends that started the process. The watcher has
no race either: it is in the group before the command is run, and as long as it is, the number of the group belongs to
no other. It is not a child of the command, whose `wait` would return it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._system.close_on_fork import close_in_forked_children

if TYPE_CHECKING:
    from trio_uwsgi._system.privileges import Identity

__all__ = ["LONGEST_LINE", "Lifeline", "ended_with", "open_lifeline", "run_shell_command", "shortened"]

# Seconds between the signal that asks a command to end, and SIGKILL. uWSGI allows the same.
MERCY = 3.0
LONGEST_LINE = 8192  # bytes; a longer one is logged in parts
_LONGEST_NAME = 40
# Seconds for the last lines, after the whole group has ended: a process that has left it may hold the output open.
_LAST_OUTPUT = 1.0

# $1 is the command, $2 the signal that asks it to end, $3 the mercy; standard input is the pipe. Whatever reaches the
# group must not end the watcher, except for SIGKILL.
_SCRIPT = """\
exec 3<&0 </dev/null
(
  (
    trap '' HUP INT QUIT TERM USR1 USR2
    read -r _ <&3
    kill -s "$2" -- "-$$"
    sleep "$3"
    kill -s KILL -- "-$$"
  ) >/dev/null 2>&1 &
)
exec 3<&-
exec /bin/sh -c "$1"
"""


class Lifeline:
    """The pipe by which commands notice the end of this process."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self._closed = False
        close_in_forked_children(self)

    def close(self) -> None:
        """End all commands that still run. A second call has no effect."""
        if not self._closed:
            self._closed = True
            os.close(self._writer)
            os.close(self.reader)

    def close_copies(self) -> None:
        """In a child that the application has forked: it must not keep the commands alive."""
        self.close()


@contextlib.contextmanager
def open_lifeline() -> Iterator[Lifeline]:
    """A lifeline for the time of the body."""
    lifeline = Lifeline()
    try:
        yield lifeline
    finally:
        lifeline.close()


async def run_shell_command(
    command: str,
    lifeline: Lifeline,
    log: Callable[[str], None],
    *,
    stopsignal: Callable[[], int] = lambda: signal.SIGTERM,
    identity: Identity | None = None,
    started: Callable[[int], None] = lambda pid: None,
) -> int:
    """Run a shell command to its end, and kill what it leaves in its process group.

    Args:
        command: for `/bin/sh -c`.
        lifeline: of this process.
        log: is called with each line that the command prints.
        stopsignal: the signal that the group gets when this is cancelled; SIGKILL follows after `MERCY`.
        identity: the user that runs it; None is that of this process.
        started: is called with its process id, which is that of the group.
    Returns:
        the exit code, or a negative posix signal.
    Raises:
        OSError: the system refused another process.
    """
    name = signal.Signals(stopsignal()).name.removeprefix("SIG")
    options: dict[str, Any] = {}  # Any: each has its own type
    if identity is not None:
        options = {"user": identity.uid, "group": identity.gid, "extra_groups": identity.groups}
    process = await trio.lowlevel.open_process(
        ["/bin/sh", "-c", _SCRIPT, "sh", command, name, f"{MERCY:g}"],
        stdin=lifeline.reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )
    started(process.pid)
    logging = trio.CancelScope(shield=True)  # what it prints at its end counts
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_log_lines, process, log, logging)
        try:
            await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, stopsignal())
            logging.deadline = trio.current_time() + _LAST_OUTPUT
    assert process.returncode is not None
    return process.returncode


async def _end(process: trio.Process, number: int) -> None:
    """End what still runs: the command, and what it has left behind."""
    if process.returncode is None:
        _signal_group(process.pid, number)
        with trio.move_on_after(MERCY):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _log_lines(process: trio.Process, log: Callable[[str], None], scope: trio.CancelScope) -> None:
    assert process.stdout is not None
    async with process.stdout as output:
        with scope:
            async for line in _lines(output):
                log(line)


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = b""
    while data := await stream.receive_some():
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


def shortened(command: str) -> str:
    """A command, as the log names it."""
    return command if len(command) <= _LONGEST_NAME else f"{command[:_LONGEST_NAME]}..."


def ended_with(code: int) -> str:
    """How a command ended, for the log."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time one
        return f"signal {-code}"
