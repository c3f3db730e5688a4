"""The standalone server: `serve` as the main program, with its log, its signals and its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import zoneinfo
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_uwsgi._process.forced_exit import bounded_end, end_now, failures_reported
from trio_uwsgi._program.app_import import STOPS
from trio_uwsgi._program.control import Control
from trio_uwsgi._program.crons import Crons
from trio_uwsgi._program.daemons import Daemons
from trio_uwsgi._program.fifo import Fifo, open_fifo
from trio_uwsgi._program.file_watcher import require_watchfiles, stamps_of, watch_files, watch_sources
from trio_uwsgi._program.shell_command import MERCY, open_lifeline
from trio_uwsgi._program.systemd import Notifier
from trio_uwsgi._system.interpreter_exit import flush_output, has_started, log_lingering, mark_started, mark_stopping
from trio_uwsgi._system.privileges import identity_of
from trio_uwsgi._system.process_titles import with_title
from trio_uwsgi._system.subreaper import reap_orphans
from trio_uwsgi._units.journal import only_error
from trio_uwsgi._units.log_handler import set_up_logging
from trio_uwsgi.config.clock import CronCommand
from trio_uwsgi.errors import BootError, UwsgiError

if TYPE_CHECKING:
    from trio_uwsgi._program.hooks import Hooks
    from trio_uwsgi._runtime.tree import NurseryTree
    from trio_uwsgi.config import Config

__all__ = ["install_stop_handlers", "plain_start_errors", "run_standalone"]

logger = logging.getLogger("trio_uwsgi")

# Reports the `NurseryTree` when everything serves.
Serve: TypeAlias = "Callable[..., Awaitable[None]]"


async def run_standalone(serve: Serve, config: Config, sources: Sequence[str], hooks: Hooks) -> None:
    """Run a runtime as the main program: log to standard error if logging is not configured, and obey commands.

    Args:
        serve: runs a `NurseryTree`, and gives it to its `task_status` when everything serves.
        config: the options; those of the process are read here.
        sources: folders of the application's code.
        hooks: those of the server.
    Raises:
        SystemExit: a posix signal stopped it immediately; the code is 128 plus the signal's number.
    """
    if not logger.hasHandlers():
        set_up_logging(logging.INFO, "%(levelname)s: %(message)s", sys.stderr)
    if config.placement != "process" and os.getpid() == 1:
        logger.warning(
            "this is process 1, but it does not reap processes that the application leaves behind; "
            "run it under an init (docker run --init), or use the command trio-uwsgi, which has one"
        )
    if config.reload:
        require_watchfiles()
    try:
        hard = await _serve_and_control(serve, config, sources, hooks)
    finally:
        log_lingering("the server")
    if hard:
        raise SystemExit(128 + hard)


async def _serve_and_control(serve: Serve, config: Config, sources: Sequence[str], hooks: Hooks) -> int:
    """Returns the posix signal that stopped everything immediately; 0 if none did."""
    touched = stamps_of(config.touch_reload)  # before the import, so that a change during the import counts
    notifier = Notifier.from_environment(os.environ)
    control: Control | None = None
    # What runs beside the server has a time of its own to end in, which may be longer than the mercy.
    commands = config.daemons or config.cron or config.hooks
    mercy = max(config.mercy, MERCY) if commands else config.mercy
    with (
        failures_reported(),
        plain_start_errors(),
        contextlib.ExitStack() as stack,
        bounded_end(mercy, lambda: _exit_code(control)) as bound,
    ):
        if config.placement == "process":
            stack.enter_context(with_title("master"))
        lifeline = stack.enter_context(open_lifeline())
        async with trio.open_nursery() as everything:
            everything.start_soon(bound)
            control = Control(everything, notifier)
            if threading.current_thread() is threading.main_thread():
                await everything.start(control.obey_job_control)
                await everything.start(control.obey_signals)
                mark_started()
                if config.placement == "process":
                    everything.start_soon(reap_orphans)
            if config.master_fifo is not None:
                everything.start_soon(control.obey_fifo, stack.enter_context(_fifo(config.master_fifo, config)))
            await hooks.run("asap")
            tree: NurseryTree = await everything.start(serve)
            control.runtime = tree.runtime
            tree.on_reloading(notifier.reloading)
            everything.start_soon(notifier.report_states, tree.stopping.wait)
            everything.start_soon(_mark_stop, tree.closing.wait)
            everything.start_soon(_end_if_overdue, tree.overdue, config.mercy)
            daemons = Daemons(config.daemons, lifeline, control.stop)
            tree.on_reloaded(daemons.reload)
            tree.daemons = daemons.statistics
            everything.start_soon(daemons.run)
            zone = None if config.timezone is None else zoneinfo.ZoneInfo(config.timezone)
            crons = Crons(list(map(CronCommand.parse, config.cron)), config.cron_harakiri, zone, lifeline)
            tree.crons = crons.statistics
            everything.start_soon(crons.run)
            if touched:
                everything.start_soon(watch_files, touched, control.reload_for)
            if config.reload:
                everything.start_soon(watch_sources, sources, control.reload_for)
            everything.start_soon(_run_start_hooks, hooks)
            await tree.ended.wait()
            await hooks.run_last(config.mercy)
            everything.cancel_scope.cancel()
    return control.hard


def _exit_code(control: Control | None) -> int:
    """The exit code after a forced exit."""
    return 128 + control.hard if control is not None and control.hard else 1


async def _end_if_overdue(overdue: trio.Event, mercy: float) -> None:
    await overdue.wait()
    end_now(mercy)


async def _run_start_hooks(hooks: Hooks) -> None:
    for point in ("post-app", "master-start"):
        await hooks.run(point)


async def _mark_stop(wait_closing: Callable[[], Awaitable[None]]) -> None:
    await wait_closing()
    mark_stopping()


def install_stop_handlers() -> None:
    """End the process at once for the posix signals that stop it, while Trio does not handle them: before and after the
    Trio run. Nothing is open then that would have to be closed, and the interpreter's own shutdown may be what hangs.
    A signal that is ignored stays ignored. Main thread only.
    """
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    gracefully = not has_started() and number != signal.SIGQUIT
    try:
        if gracefully:
            logger.info("%s: stopping before anything was served", name)
        else:
            logger.warning("%s: stopping immediately", name)
        flush_output()
    finally:
        os._exit(0 if gracefully else 128 + number)


def _fifo(path: str, config: Config) -> AbstractContextManager[Fifo]:
    """The fifo, owned by the user that this process switches to."""
    someone = config.uid is not None or config.gid is not None
    identity = identity_of(config.uid, config.gid) if someone else None
    return open_fifo(path, None if identity is None else identity[:2])


@contextlib.contextmanager
def plain_start_errors() -> Iterator[None]:
    """Take an error of this package out of the exception groups of nurseries."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = only_error(group)
        if isinstance(error, BaseExceptionGroup) and error.split(BootError)[1] is None:  # several members cannot start
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
        if not isinstance(error, UwsgiError):
            raise
        raise error from error.__cause__
