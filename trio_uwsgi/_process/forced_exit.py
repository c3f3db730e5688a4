"""The end of a run that does not end by itself.

When a task of ours fails, Trio cancels all others and waits for them. One that waits under a shield for what will not
come any more, because of that very failure, would keep a process that accepts nobody and never ends. So a run that is
over has some seconds, and then its process ends: with a line of what failed, the tasks that are left, and an exit code
that is not 0.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator

import trio

from trio_uwsgi._runtime.overdue import LEEWAY
from trio_uwsgi._system.interpreter_exit import LONGEST
from trio_uwsgi._units.journal import report_failure
from trio_uwsgi._units.stack_dumps import dump_here
from trio_uwsgi.errors import UwsgiError

__all__ = ["bounded_end", "end_now", "failures_reported"]

logger = logging.getLogger("trio_uwsgi")


@contextlib.contextmanager
def bounded_end(mercy: float, code: Callable[[], int]) -> Iterator[Callable[[], Awaitable[None]]]:
    """Give a task for the nursery in the body: if the body does not end within the mercy after that was cancelled, the
    process ends with `code()`. Only where the process is ours.
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
    """Log what the runtime fails with in the body. What this package raises on purpose has its own sentence."""
    try:
        yield
    except (UwsgiError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        report_failure(error)
        raise


def end_now(mercy: float) -> None:
    """On Trio's thread: the mercy of a graceful stop is over, and something goes on all the same. It ends with 0."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    _end(root, mercy, lambda: 0)


def _end(root: trio.lowlevel.Task, mercy: float, code: Callable[[], int]) -> None:
    """In the timer's thread: Trio's may be blocked."""
    try:
        logger.critical("the runtime did not end within the mercy of %g s; its process ends now", mercy)
        for error in _failures(root):
            report_failure(error)
        dump_here(root)
    finally:
        os._exit(code())


def _failures(task: trio.lowlevel.Task) -> Iterator[BaseException]:
    """What tasks that have ended left for the nurseries which are still waiting for others."""
    for nursery in task.child_nurseries:
        yield from getattr(nursery, "_pending_excs", ())
        for child in nursery.child_tasks:
            yield from _failures(child)
