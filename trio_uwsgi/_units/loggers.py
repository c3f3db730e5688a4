"""The loggers of this package stay enabled and harmless, however the application configures logging.

`contain_failures`: the filters and handlers of these loggers are the application's and may fail. Lines are logged in
the reactor, in reapers and in callbacks of Trio; a filter that raises there, or a handler whose directory is gone,
would end the worker or the whole server. So a failure loses that one line, and the first one of a process is reported
on standard error. (Handlers that call `handleError`, as most of the standard library's do, report it themselves.)

`enable_own_loggers`: `dictConfig` and `fileConfig` disable all loggers that exist and are not named, unless told
otherwise. Ours exist by then only because the server is imported before the application, and the application's failures
would be missing from the log. So ours are enabled again after the application has been imported and started. A logger
of ours that the application disabled by name stays disabled.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback

from trio_uwsgi._units.failures import is_interrupt

__all__ = ["contain_failures", "enable_own_loggers"]

_NAMES = ("trio_uwsgi", "trio_uwsgi.access", "trio_uwsgi.alarm")
# No application names this logger, so it is disabled only by a configuration that disables all.
_probe = logging.getLogger("trio_uwsgi.bystander")


def contain_failures() -> None:
    """Let a failing filter or handler of these loggers lose its line, and nothing else."""
    for name in _NAMES:
        logger = logging.getLogger(name)
        if "handle" not in vars(logger):
            vars(logger).update(handle=_Contained(logger))


class _Contained:
    """Replaces `logger.handle`, which calls the logger's filters and all handlers."""

    reported = False

    def __init__(self, logger: logging.Logger) -> None:
        self._handle = logger.handle

    def __call__(self, record: logging.LogRecord) -> None:
        try:
            self._handle(record)
        except BaseException as error:
            if is_interrupt(error):
                raise
            _report(record, error)


def _report(record: logging.LogRecord, error: BaseException) -> None:
    if _Contained.reported:
        return
    _Contained.reported = True
    with contextlib.suppress(Exception):  # if standard error fails too, there is no other place for it
        trouble = "".join(traceback.format_exception(error))
        sys.stderr.write(
            f"trio_uwsgi: a filter or a handler of logging failed, so this line was lost: {record.getMessage()}\n"
            f"(other lost lines of this process are not reported)\n{trouble}"
        )


def enable_own_loggers() -> None:
    """Enable our loggers again if a configuration of logging disabled all loggers that it did not name."""
    if not _probe.disabled:
        return
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and (name == "trio_uwsgi" or name.startswith("trio_uwsgi.")):
            logger.disabled = False
