"""Where a runtime says what happened, and how an error is put into one line.

`serve` gives members a journal that logs; `trio_uwsgi.testing` gives one that also remembers, and raises what failed.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import trio

__all__ = ["Event", "Journal", "LoggingJournal", "only_error", "report_failure", "summary"]

logger = logging.getLogger("trio_uwsgi")

_NO_LOOP = re.compile("no running event loop|There is no current event loop", re.IGNORECASE)


class Event(NamedTuple):
    """One line of a runtime's event log.

    `time` is in seconds since the runtime started, on Trio's clock; `member` is `master`, `worker1`, `mule2`, ...;
    `what` is a short sentence that starts with a noun: `signal 17`, `request GET /`, `signal 17 harakiri`.
    """

    time: float
    member: str
    what: str


class Journal(Protocol):
    """Where a runtime says what happened. `serve` gives one that logs; `trio_uwsgi.testing` gives one that also
    remembers.
    """

    remembers: bool  # False: `note` does nothing, and need not be called for each request

    def note(self, member: str, what: str) -> None:
        """Remember that `what` happened to `member`."""

    def failed(self, member: str, what: str, error: BaseException) -> None:
        """User code raised `error`. A strict journal raises it again."""


class LoggingJournal:
    """The journal of a serving process: failures go to the log with their traceback, the rest is left to whoever logs
    it.
    """

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
    """Log why the runtime itself failed: each innermost error, with a traceback of its own. Python prints groups to a
    depth of ten only, which is less than that of a worker's tasks.
    """
    for number, leaf in enumerate(_leaves(error)):
        if number == _MAX_LEAVES:
            logger.critical("and more errors, which are not shown")
            break
        logger.critical("the runtime failed: %s", summary(leaf), exc_info=leaf)


# Of one group: the first one is the cause, as a rule, and the others come of it.
_MAX_LEAVES = 3


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    elif not isinstance(error, trio.Cancelled):
        yield error


def _hint(error: BaseException) -> str:
    """What asyncio's own error does not say."""
    if isinstance(error, BaseExceptionGroup):
        error = only_error(error)
    if isinstance(error, RuntimeError) and _NO_LOOP.match(str(error)):
        return " (this is asyncio's; here everything runs on Trio, so use Trio's or anyio's functions instead)"
    return ""


def summary(error: BaseException) -> str:
    """One line: the type, and the text's first line."""
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    return next(
        line for line in lines if not line.startswith(" ")
    )  # a SyntaxError shows its source first; notes come last
