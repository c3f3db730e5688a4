"""Run other programs beside the server: started when it serves, restarted when they end, ended with it.

Those with a pidfile go on without the server, as uWSGI's smart daemons do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._program.file_watcher import stamps_of, watch_files
from trio_uwsgi._program.shell_command import MERCY, ended_with, run_shell_command, shortened
from trio_uwsgi._runtime.backoff import next_pause
from trio_uwsgi._system.privileges import identity_of
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._program.shell_command import Lifeline
    from trio_uwsgi._system.privileges import Identity
    from trio_uwsgi.config.daemons import Daemon

__all__ = ["Daemons"]

# Seconds between two looks at a process of a pidfile, where the system cannot report its end. uWSGI's is the same.
_INTERVAL = 10.0

logger = logging.getLogger("trio_uwsgi.daemon")

# Programs that go on without the server. Their objects are kept, because nobody waits for these processes.
_left: list[trio.Process] = []


class Daemons:
    """The programs that run beside a server.

    Args:
        given: what to run.
        lifeline: of this process.
        stop: is called with the reason, when a program has ended that the server must not go on without.
    Raises:
        ConfigError: a user of theirs does not exist, or this process may not switch to it.
    """

    def __init__(self, given: Sequence[Daemon], lifeline: Lifeline, stop: Callable[[str], None]) -> None:
        self._all = [_Attached(daemon, lifeline, stop) for daemon in given]

    async def run(self) -> None:
        """Run them until cancelled."""
        async with trio.open_nursery() as nursery:
            for attached in self._all:
                nursery.start_soon(attached.run)

    def statistics(self) -> list[dict[str, object]]:
        """For uWSGI's stats: of each its command, its process (0: none runs), and how often it was started again."""
        return [
            {"cmd": attached.daemon.command, "pid": attached.pid, "respawns": attached.respawns}
            for attached in self._all
        ]

    def reload(self) -> None:
        """End those that end with the server, and start them again: the code of the application is another one."""
        for attached in self._all:
            if attached.daemon.pidfile is None:
                attached.restart("a reload", attached.daemon.reloadsignal)


class _Attached:
    """One of the programs. `pid` is its process, 0 if none runs; `respawns` is how often it was started again."""

    def __init__(self, daemon: Daemon, lifeline: Lifeline, stop: Callable[[str], None]) -> None:
        self.daemon = daemon
        self._name = shortened(daemon.command)
        self._identity = _identity(daemon)
        self._lifeline = lifeline
        self._stop = stop
        self._scope = trio.CancelScope()
        self._signal = daemon.stopsignal
        self._why = ""
        self.pid = 0
        self.respawns = 0

    async def run(self) -> None:
        """Keep it running until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.daemon.touch:
                touched = stamps_of(self.daemon.touch)
                nursery.start_soon(watch_files, touched, lambda file: self.restart(f"{file} changed"))
            await self._keep_running(self._run_beside if self.daemon.pidfile is None else self._run_by_pidfile)
            nursery.cancel_scope.cancel()

    def restart(self, why: str, number: int = 0) -> None:
        """End it with this signal, or with its `stopsignal`, and start it again. Never waits."""
        self._why = why
        self._signal = number or self.daemon.stopsignal
        self._scope.cancel()

    async def _keep_running(self, run: Callable[[], Awaitable[str]]) -> None:
        pause = 0.0
        while True:
            self._scope, self._signal = trio.CancelScope(), self.daemon.stopsignal
            began = trio.current_time()
            with self._scope:
                try:
                    how = await run()
                finally:
                    self.pid = 0
                    self.respawns += 1
                if self.daemon.control:
                    self._stop(f"daemon {self._name} ended with {how}")
                    return
                pause = next_pause(pause, trio.current_time() - began)
                again = f"in {pause:g} s" if pause else "now"
                logger.warning("daemon %s ended with %s; it is started again %s", self._name, how, again)
                await trio.sleep(pause)
            if self._scope.cancelled_caught:
                logger.info("daemon %s is started again, because of %s", self._name, self._why)
                pause = 0.0

    async def _run_beside(self) -> str:
        code = await run_shell_command(
            self.daemon.command,
            self._lifeline,
            partial(logger.info, "%s: %s", self._name),
            stopsignal=lambda: self._signal,
            identity=self._identity,
            started=self._started,
        )
        return ended_with(code)

    def _started(self, pid: int) -> None:
        self.pid = pid
        logger.info("daemon %s is process %d", self._name, pid)

    # ----- with a pidfile

    async def _run_by_pidfile(self) -> str:
        assert self.daemon.pidfile is not None
        how = "an unknown status"
        pid = _running_pid(self.daemon.pidfile)
        if pid is None:
            how = ended_with(await self._start())
            if (pid := _running_pid(self.daemon.pidfile)) is None:
                return f"{how}, and {self.daemon.pidfile} has no process that runs"
        self.pid = pid
        logger.info("daemon %s is process %d of %s", self._name, pid, self.daemon.pidfile)
        try:
            await _wait_for(pid)
        finally:
            if self._scope.cancel_called:
                await _terminate(pid, self._signal)
            elif _runs(pid):
                logger.info("daemon %s goes on as process %d", self._name, pid)
        return how

    async def _start(self) -> int:
        """Run the command, which may stay in the foreground; returns its exit code."""
        options: dict[str, Any] = {}  # Any: each has its own type
        if (identity := self._identity) is not None:
            options = {"user": identity.uid, "group": identity.gid, "extra_groups": identity.groups}
        # It has the output of the server, because a pipe would end with the server.
        process = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", self.daemon.command], stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        logger.info("daemon %s is started by process %d", self._name, process.pid)
        try:
            return await process.wait()
        finally:
            if process.returncode is None and self._scope.cancel_called:
                await _terminate(process.pid, self._signal)
            elif process.returncode is None:
                _left.append(process)


def _running_pid(file: str) -> int | None:
    """The pid in this file, if there is such a process."""
    try:
        pid = int(Path(file).read_text("ascii"))
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and _runs(pid) else None


def _runs(pid: int) -> bool:
    """Is there such a process, which may be another user's?"""
    with contextlib.suppress(OSError, AttributeError), _pidfd_of(pid) as pidfd:
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        return not ended.poll(0)  # also true of one that nobody has waited for yet
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def _pidfd_of(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


async def _wait_for(pid: int) -> None:
    """Wait until this process has ended, which need not be a child of this one."""
    with contextlib.suppress(OSError, AttributeError), _pidfd_of(pid) as pidfd:
        await trio.lowlevel.wait_readable(pidfd)
        return
    while _runs(pid):  # noqa: ASYNC110  # a system without pidfds does not report it
        await trio.sleep(_INTERVAL)


async def _terminate(pid: int, number: int) -> None:
    """End a process with this signal, or after a time with SIGKILL, whatever is cancelled meanwhile."""
    with trio.CancelScope(shield=True):
        for signum, seconds in ((number, MERCY), (signal.SIGKILL, MERCY)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signum)
            with trio.move_on_after(seconds):
                await _wait_for(pid)
                return


def _identity(daemon: Daemon) -> Identity | None:
    """The user that runs it; None is that of the server."""
    if daemon.uid is None and daemon.gid is None:
        return None
    try:
        identity = identity_of(daemon.uid, daemon.gid)
    except ConfigError as error:
        raise ConfigError(f"attach_daemon: {shortened(daemon.command)!r}: {error.problem}", error.remedy) from None
    if identity is not None and os.geteuid() != 0:
        raise ConfigError(
            f"attach_daemon: only root may run {shortened(daemon.command)!r} as another user",
            "leave its uid and gid out",
        )
    return identity
