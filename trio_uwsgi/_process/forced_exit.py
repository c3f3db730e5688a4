"""End the process when the Trio run does not end by itself.

When one of this package's tasks fails, Trio cancels all other tasks and waits for them. A task that is shielded, and
waits for something that the failure prevents, would keep a process that accepts no connections and never ends. So a run
has the mercy (the graceful shutdown timeout) after its cancellation; then the process logs the failure, prints the
tasks that are left, and exits with a code other than 0.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator

import trio

from trio_uwsgi._runtime.stuck_shutdown import LEEWAY
from trio_uwsgi._system.interpreter_exit import LONGEST
from trio_uwsgi._units.journal import report_failure
from trio_uwsgi._units.stack_dumps import dump_here
from trio_uwsgi.errors import UwsgiError

__all__ = ["bounded_end", "end_now", "failures_reported"]

logger = logging.getLogger("trio_uwsgi")


@contextlib.contextmanager
def bounded_end(mercy: float, code: Callable[[], int]) -> Iterator[Callable[[], Awaitable[None]]]:
    """Yields a task for the nursery in the body. If the body does not end within the mercy after that task was
    cancelled, the process ends with `code()`. Only in a standalone server and in members' processes.
    """
    root = trio.lowlevel.current_root_task()
    assert root is not None
    timer = threading.Timer(min(mercy + LEEWAY, LONGEST), _end, (root, mercy, code))
    timer.daemon = True
    timer.name = "trio_uwsgi last resort"

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        finally:
            timer.start()

    try:
        yield watch
    finally:
        timer.cancel()


@contextlib.contextmanager
def failures_reported() -> Iterator[None]:
    """Log the failure of the runtime in the body. Errors that this package raises on purpose are reported elsewhere."""
    try:
        yield
    except (UwsgiError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        report_failure(error)
        raise


def end_now(mercy: float) -> None:
    """End the process with code 0, because a graceful stop took longer than the mercy. On Trio's thread."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    _end(root, mercy, lambda: 0)


def _end(root: trio.lowlevel.Task, mercy: float, code: Callable[[], int]) -> None:
    """Runs in the timer's thread, because Trio's may be blocked."""
    try:
        logger.critical("the server did not stop within the mercy of %g s; the process exits now", mercy)
        for error in _failures(root):
            report_failure(error)
        dump_here(root)
    finally:
        os._exit(code())


def _failures(task: trio.lowlevel.Task) -> Iterator[BaseException]:
    """The exceptions of ended tasks, in nurseries that still wait for other tasks."""
    for nursery in task.child_nurseries:
        yield from getattr(nursery, "_pending_excs", ())
        for child in nursery.child_tasks:
            yield from _failures(child)
