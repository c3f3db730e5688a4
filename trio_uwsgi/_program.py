"""The program that `serve` is where nobody embeds it: its log, and the posix signals it obeys. Floor 4."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_uwsgi._runtime.titles import entitle
from trio_uwsgi._tasks.journal import sole
from trio_uwsgi._tasks.systemd import Notifier
from trio_uwsgi.errors import BootError, NotServing, UwsgiError

if TYPE_CHECKING:
    from trio_uwsgi._runtime.runtime import Runtime
    from trio_uwsgi.config import Config

__all__ = ["be_the_program", "plain_start_errors"]

logger = logging.getLogger("trio_uwsgi")

# Posix signals that Trio has not looked at when one more ends the process at once, as it does by default: something
# keeps Trio's thread, so the stops that were asked for cannot even begin.
_UNNOTICED = 2

# Reports the `Runtime` when everything serves.
Serve: TypeAlias = "Callable[..., Awaitable[None]]"


async def be_the_program(serve: Serve, config: Config) -> None:
    """Run a runtime, show a log if nobody set one up, and obey posix signals.

    Args:
        serve: runs the runtime, and gives it to its `task_status` when everything serves.
        config: what concerns the program is taken from it.
    Raises:
        SystemExit: a second posix signal came; the code is 128 plus its number.
    """
    if not logger.hasHandlers():
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if config.placement == "process":
        entitle("master")
    notifier = Notifier.from_environment(os.environ)
    posix = _PosixSignals(notifier)
    with plain_start_errors():
        async with trio.open_nursery() as services:
            if threading.current_thread() is threading.main_thread():
                await services.start(posix.obey, services.cancel_scope)
            posix.runtime = runtime = await services.start(serve)
            runtime.on_reloading(notifier.reloading)
            services.start_soon(notifier.follow, runtime.wait_stopping)
            await runtime.ended.wait()
            services.cancel_scope.cancel()
    if posix.hard:
        raise SystemExit(128 + posix.hard)


class _PosixSignals:
    """SIGHUP reloads. SIGINT and SIGTERM: the first one stops `runtime` gracefully, or everything while there is none
    yet; the second one stops hard. While user code blocks Trio's thread neither can, and a third one ends the process.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self.runtime: Runtime | None = None
        self.hard = 0
        self._unnoticed = 0

    def _count(self, wanted: signal.Signals) -> None:
        """Count the calls of the handler that Trio has set; its receiver puts back what was before both."""
        trios = signal.getsignal(wanted)
        assert callable(trios)

        def handler(number: int, frame: FrameType | None) -> None:
            self._unnoticed += 1
            if self._unnoticed > _UNNOTICED:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            trios(number, frame)

        signal.signal(wanted, handler)

    async def obey(self, everything: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        """Obey them until cancelled."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            for wanted in (signal.SIGINT, signal.SIGTERM):
                self._count(wanted)
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    self._reload()
                    continue
                self._unnoticed = 0
                name = signal.Signals(number).name
                if self.runtime is None:
                    logger.info("%s: stopping before anything was served", name)
                    everything.cancel()
                elif self.runtime.stopping:
                    logger.warning("%s again: stopping now", name)
                    self.hard = number
                    everything.cancel()
                else:
                    logger.info("%s: stopping when running work has ended; once more stops now", name)
                    self.runtime.stop()

    def _reload(self) -> None:
        if self.runtime is None or self.runtime.stopping:
            logger.warning("SIGHUP: not reloaded, it %s", "stops" if self.runtime else "starts")
            return
        try:
            self.runtime.reload()
        except NotServing as error:
            logger.error("SIGHUP: not reloaded: %s", error)
            for begun in (True, False):  # whoever asked waits until it is over
                self._notifier.reloading(begun)


@contextlib.contextmanager
def plain_start_errors() -> Iterator[None]:
    """What this package raises on purpose leaves without the groups of the nurseries on its way."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = sole(group)
        if isinstance(error, BaseExceptionGroup) and error.split(BootError)[1] is None:  # several members cannot start
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
        if not isinstance(error, UwsgiError):
            raise
        raise error from error.__cause__
