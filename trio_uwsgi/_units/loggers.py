"""The loggers of this package, whose filters and handlers are the application's and may fail.

Lines are logged wherever something happens: in the reactor's batches, in reapers, in callbacks of Trio. A filter that
raises there, or a handler whose directory is gone, would end the worker or the whole server, for a line of its log. So
what it raises is told once, on standard error, and costs that line. (Handlers that report by `handleError`, as those of
the standard library do for most failures, have their own say first.)
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback

from trio_uwsgi._units.failures import is_interrupt

__all__ = ["contain_failures"]

_NAMES = ("trio_uwsgi", "trio_uwsgi.access", "trio_uwsgi.alarm")


def contain_failures() -> None:
    """Let these loggers lose a line, and nothing else, when what the application has set up for them fails."""
    for name in _NAMES:
        logger = logging.getLogger(name)
        if "handle" not in vars(logger):
            vars(logger).update(handle=_Contained(logger))


class _Contained:
    """`logger.handle`, which calls the logger's filters and all handlers."""

    told = False

    def __init__(self, logger: logging.Logger) -> None:
        self._handle = logger.handle

    def __call__(self, record: logging.LogRecord) -> None:
        try:
            self._handle(record)
        except BaseException as error:
            if is_interrupt(error):
                raise
            _tell(record, error)


def _tell(record: logging.LogRecord, error: BaseException) -> None:
    if _Contained.told:
        return
    _Contained.told = True
    with contextlib.suppress(Exception):  # there is nowhere else to say it
        trouble = "".join(traceback.format_exception(error))
        sys.stderr.write(
            f"trio_uwsgi: a filter or a handler of logging failed, so this line was lost: {record.getMessage()}\n"
            f"(other lines that are lost in this process are not shown)\n{trouble}"
        )
