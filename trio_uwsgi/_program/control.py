"""Commands to a standalone server: by posix signals, and by letters in its fifo."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._system.forks import blocked_signals
from trio_uwsgi._system.job_control import (
    JOB_CONTROL,
    block_job_control,
    in_background,
    next_sent_signals,
    open_sent_signals,
    unblock_job_control,
)
from trio_uwsgi._units.stack_dumps import dump_here
from trio_uwsgi.errors import NotServing

if TYPE_CHECKING:
    from trio_uwsgi._program.fifo import Fifo
    from trio_uwsgi._program.systemd import Notifier
    from trio_uwsgi._runtime.runtime import Runtime

__all__ = ["Control"]

logger = logging.getLogger("trio_uwsgi")

# Posix signals that Trio has not delivered yet. With one more of them the process ends as by default: Trio's thread is
# blocked, so a graceful stop cannot even begin.
_MAX_UNHANDLED = 2
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


class Control:
    """The commands, and what reads them. Each logs where it came from (`why`) and its effect.

    `runtime` is set when it serves; `hard` is the posix signal that stopped everything immediately, 0 if none did.

    Args:
        everything: the nursery of the runtime, and of tasks that are started here.
        notifier: reports states to the service manager.
    """

    def __init__(self, everything: trio.Nursery, notifier: Notifier) -> None:
        self._notifier = notifier
        self.runtime: Runtime | None = None
        self.hard = 0
        self._everything = everything
        self._unhandled = 0
        self._dumping = False
        self._signals: Mapping[int, Callable[[str], None]] = {
            signal.SIGINT: self.stop,
            signal.SIGTERM: self.stop,
            signal.SIGQUIT: self.stop_now,
            signal.SIGHUP: self.reload,
            signal.SIGTTIN: self.add_worker,
            signal.SIGTTOU: self.remove_worker,
            signal.SIGTSTP: self.pause,
            signal.SIGUSR1: self.log_statistics,
            signal.SIGUSR2: self.dump_stacks,
        }
        # uWSGI's letters. There R and W cut requests off; here they reload gracefully, like r and w.
        self._letters: Mapping[str, Callable[[str], None]] = {
            "q": self.stop,
            "Q": self.stop_now,
            "c": self.chain_reload,
            **dict.fromkeys("rRwW", self.reload),
            "+": self.add_worker,
            "-": self.remove_worker,
            "p": self.pause,
            "s": self.log_statistics,
        }

    # ----- where commands are read

    async def obey_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Obey posix signals until cancelled. On the main thread only."""
        signal.signal(
            signal.SIGPIPE, signal.SIG_IGN
        )  # as in a new interpreter; otherwise a closed pipe ends the process
        handled = set(self._signals) - blocked_signals
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)  # the application may have blocked some
        try:
            await self._obey_signals(task_status)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, mask & handled)

    async def _obey_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*self._signals) as received:
            for wanted in _STOPS:
                self._count(wanted)
            task_status.started()
            async for number in received:
                if number in JOB_CONTROL and in_background():  # sent by the kernel, to a thread that has not blocked it
                    continue
                self._unhandled = 0
                self.hard = number if number in _STOPS else 0  # in case this signal stops everything immediately
                self._signals[number](signal.Signals(number).name)

    async def obey_job_control(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Under a terminal, obey SIGTTIN and SIGTTOU that were sent deliberately, until cancelled."""
        before = block_job_control()
        if before is None:
            task_status.started()
            return
        blocked_signals.update(JOB_CONTROL)
        try:
            with open_sent_signals() as descriptor:
                task_status.started()
                while True:
                    for number in await next_sent_signals(descriptor):
                        self._signals[number](number.name)
        finally:
            blocked_signals.clear()
            unblock_job_control(before)

    def _count(self, wanted: signal.Signals) -> None:
        """Count the calls of Trio's handler. Trio's receiver restores the handler from before both at its end."""
        trios = signal.getsignal(wanted)
        assert callable(trios)

        def handler(number: int, frame: FrameType | None) -> None:
            self._unhandled += 1
            if self._unhandled > _MAX_UNHANDLED:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            trios(number, frame)

        signal.signal(wanted, handler)

    async def obey_fifo(self, fifo: Fifo) -> None:
        """Obey letters until cancelled."""
        while True:
            for letter in await fifo.read():
                if letter in self._letters:
                    self._letters[letter](f"fifo {letter}")
                elif not letter.isspace():
                    known = " ".join(self._letters)
                    logger.warning("fifo %r: unknown command; the commands are %s", letter, known)

    # ----- the commands

    def stop(self, why: str) -> None:
        """Stop gracefully; the second time, and before anything is served, immediately."""
        if self.runtime is None:
            logger.info("%s: stopping before anything was served", why)
            self.hard = 0
            self._everything.cancel_scope.cancel()
        elif self.runtime.stopping:
            self.stop_now(why)
        else:
            logger.info("%s: stopping gracefully; a second signal stops immediately", why)
            self.hard = 0
            self.runtime.stop()

    def stop_now(self, why: str) -> None:
        """Stop immediately, and cut off what runs."""
        logger.warning("%s: stopping immediately", why)
        self.hard = self.hard or signal.SIGQUIT
        self._everything.cancel_scope.cancel()

    def reload(self, why: str, *, chain: bool = False) -> None:
        """Reload all members, with no downtime; with `chain` one worker at a time."""
        if (runtime := self._serving(why, "reload")) is None:
            return
        try:
            runtime.reload(chain=chain)
        except NotServing as error:
            logger.error("%s: the reload was refused: %s", why, error)
            for begun in (True, False):  # the service manager waits for both
                self._notifier.reloading(begun)

    def reload_for(self, file: str) -> None:
        """Reload because this file was touched or changed."""
        self.reload(f"{file} changed")

    def chain_reload(self, why: str) -> None:
        """Reload one worker at a time."""
        self.reload(why, chain=True)

    def add_worker(self, why: str) -> None:
        """Add a worker."""
        if (runtime := self._serving(why, "add a worker")) is not None:
            runtime.add_worker()

    def remove_worker(self, why: str) -> None:
        """Remove a worker."""
        if (runtime := self._serving(why, "remove a worker")) is not None:
            runtime.remove_worker()

    def pause(self, why: str) -> None:
        """Pause accepting connections, or resume it if it is paused."""
        if (runtime := self._serving(why, "pause")) is None:
            return
        if runtime.paused:
            logger.info("%s: accepting resumed", why)
            runtime.resume()
        else:
            logger.info("%s: accepting paused; the same command resumes it", why)
            runtime.pause()

    def log_statistics(self, why: str) -> None:
        """Log the statistics."""
        if (runtime := self._serving(why, "log statistics")) is None:
            return
        statistics = runtime.statistics()
        for slot in statistics.members:
            logger.info("%s: %s", why, slot)
        for part in (*statistics.http, statistics.signals, statistics.messages, statistics.alarms, *statistics.spools):
            logger.info("%s: %s", why, part)
        for part in (statistics.queue, *statistics.metrics):
            if part is not None:
                logger.info("%s: %s", why, part)

    def dump_stacks(self, why: str) -> None:
        """Print the tasks and stacks of all processes on standard error."""
        logger.info("%s: the stacks of all processes follow", why)
        if self.runtime is None:
            dump_here()
        elif not self._dumping:  # two dumps at once would be mixed up
            self._dumping = True
            self._everything.start_soon(self._dump, self.runtime)

    async def _dump(self, runtime: Runtime) -> None:
        await runtime.dump_stacks()
        self._dumping = False

    def _serving(self, why: str, what: str) -> Runtime | None:
        if self.runtime is None or self.runtime.stopping:
            logger.warning(
                "%s: cannot %s while the server is %s", why, what, "stopping" if self.runtime else "starting"
            )
            return None
        return self.runtime
