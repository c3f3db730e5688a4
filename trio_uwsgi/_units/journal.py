"""The journal of a runtime: what happened, for the log or the event log of tests.

`serve` gives members a journal that logs; `trio_uwsgi.testing` gives them one that also records events and raises
failures.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import trio

__all__ = ["Event", "Journal", "LoggingJournal", "only_error", "report_failure", "stack_of", "summary"]

logger = logging.getLogger("trio_uwsgi")

# What Python says of a missing loop of asyncio, and Trio of a future of asyncio that was awaited.
_NO_ASYNCIO = re.compile(
    ": (no running event loop|There is no current event loop|trio.run received unrecognized yield message)",
    re.IGNORECASE,
)


class Event(NamedTuple):
    """One line of a runtime's event log.

    Attributes:
        time: seconds since the runtime started, on Trio's clock.
        member: the name of the member, such as `"worker1"` or `"mule2"`, or `"master"`.
        what: a few words that start with a noun: `"signal 17"`, `"request GET /"`, `"signal 17 harakiri"`.
    """

    time: float
    member: str
    what: str


class Journal(Protocol):
    """Records what happens in a runtime."""

    remembers: bool  # False: `note` does nothing, and need not be called for each request

    def note(self, member: str, what: str) -> None:
        """Record that `what` happened in `member`."""

    def failed(self, member: str, what: str, error: BaseException) -> None:
        """User code raised `error`. A strict journal raises it again."""


class LoggingJournal:
    """The journal of a serving process: logs failures with their traceback, and ignores other events."""

    remembers = False

    def note(self, member: str, what: str) -> None:
        pass

    def failed(self, member: str, what: str, error: BaseException) -> None:
        logger.error("%s: %s failed: %s%s", member, what, summary(error), _hint(error), exc_info=error)


def only_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The one error inside nested groups of one, or the group itself when there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def report_failure(error: BaseException) -> None:
    """Log why the runtime itself failed: each innermost error with its traceback. (Python prints nested groups to a
    depth of ten only, and a worker's tasks are nested deeper.)
    """
    for number, leaf in enumerate(_leaves(error)):
        if number == _MAX_LEAVES:
            logger.critical("more errors of the same group are not shown")
            break
        logger.critical("the runtime failed: %s", summary(leaf), exc_info=leaf)


# Errors shown of one group: usually the first one caused the others.
_MAX_LEAVES = 3


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    elif not isinstance(error, trio.Cancelled):
        yield error


def _hint(error: BaseException) -> str:
    """Advice for errors of asyncio."""
    if isinstance(error, BaseExceptionGroup):
        error = only_error(error)
    if isinstance(error, RuntimeError | TypeError) and _NO_ASYNCIO.search(summary(error)):
        return " (asyncio does not run here; use Trio's or anyio's functions instead)"
    return ""


def stack_of(error: BaseException) -> str:
    """The whole traceback as text."""
    return "".join(traceback.format_exception(error)).rstrip()


def summary(error: BaseException) -> str:
    """One line: the type, and the text's first line. It never raises, unlike `str(error)` of an application's error."""
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    return next(
        line for line in lines if not line.startswith(" ")
    )  # a SyntaxError shows its source first; notes come last
