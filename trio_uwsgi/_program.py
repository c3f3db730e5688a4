"""The program that `serve` is where nobody embeds it: its log, and who tells it what to do. Floor 4."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_uwsgi._control import Control
from trio_uwsgi._runtime.titles import entitled
from trio_uwsgi._tasks.fifo import Fifo, open_fifo
from trio_uwsgi._tasks.journal import sole
from trio_uwsgi._tasks.privileges import identity_of
from trio_uwsgi._tasks.systemd import Notifier
from trio_uwsgi._tasks.touching import require_watchfiles, stamps_of, watch_files, watch_sources
from trio_uwsgi.errors import BootError, UwsgiError

if TYPE_CHECKING:
    from trio_uwsgi.config import Config

__all__ = ["be_the_program", "plain_start_errors"]

logger = logging.getLogger("trio_uwsgi")

# Reports the `Runtime` when everything serves.
Serve: TypeAlias = "Callable[..., Awaitable[None]]"


async def be_the_program(serve: Serve, config: Config, sources: Sequence[str]) -> None:
    """Run a runtime, show a log if nobody set one up, and do what the program is told from outside.

    Args:
        serve: runs the runtime, and gives it to its `task_status` when everything serves.
        config: what concerns the program is taken from it.
        sources: folders of the application's code.
    Raises:
        SystemExit: it was told to end at once; the code is 128 plus the number of the posix signal that means that.
    """
    if not logger.hasHandlers():
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if config.reload:
        require_watchfiles()
    touched = stamps_of(config.touch_reload)  # from now on: what is touched while the application is imported counts
    notifier = Notifier.from_environment(os.environ)
    with plain_start_errors(), contextlib.ExitStack() as stack:
        if config.placement == "process":
            stack.enter_context(entitled("master"))
        async with trio.open_nursery() as everything:
            control = Control(everything, notifier)
            if threading.current_thread() is threading.main_thread():
                await everything.start(control.obey_signals)
            if config.master_fifo is not None:
                everything.start_soon(control.obey_fifo, stack.enter_context(_fifo(config.master_fifo, config)))
            control.runtime = runtime = await everything.start(serve)
            runtime.on_reloading(notifier.reloading)
            everything.start_soon(notifier.follow, runtime.wait_stopping)
            if touched:
                everything.start_soon(watch_files, touched, control.reload_for)
            if config.reload:
                everything.start_soon(watch_sources, sources, control.reload_for)
            await runtime.ended.wait()
            everything.cancel_scope.cancel()
    if control.hard:
        raise SystemExit(128 + control.hard)


def _fifo(path: str, config: Config) -> AbstractContextManager[Fifo]:
    """Whoever this process becomes may use it, and remove it."""
    someone = config.uid is not None or config.gid is not None
    identity = identity_of(config.uid, config.gid) if someone else None
    return open_fifo(path, None if identity is None else identity[:2])


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
