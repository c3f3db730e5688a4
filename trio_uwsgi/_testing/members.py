"""Members of a test, in processes that were forked from it: what they stand on there.

A zygote calls the functions here by name, as it calls those of `_member_entry.py` in production. What it finds in
memory, because it comes from the test's process, is the `Stage`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import random
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from trio_uwsgi._process import member_process, zygote
from trio_uwsgi._process.zygote_control import RemoteTraceback
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi._signals.ticker import WallClock, time_of_day
from trio_uwsgi._testing.clock_agent import ClockAgent
from trio_uwsgi._testing.notes import Notes
from trio_uwsgi._units.journal import Event, LoggingJournal

if TYPE_CHECKING:
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._testing.event_buffer import EventBuffer

__all__ = ["Stage", "become_zygote", "describe_application", "main", "prepare"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the processes of one runtime have from the test.

    Args:
        app: the application.
        registry: its declarations.
        book: where members write what happens.
        address: where the conductor listens to them.
        clock: shows them the test's time.
        began: when the runtime did, on that clock, and in POSIX seconds.
    """

    app: object
    registry: Registry
    event_buffer: EventBuffer
    address: bytes
    clock: trio.abc.Clock
    began: tuple[float, float]


_stage: Stage


def become_zygote(stage: Stage, descriptor: int) -> NoReturn:
    """Be a zygote, in a process that was just forked from the test."""
    global _stage
    _stage = stage
    Notes._event_buffer = stage.event_buffer
    root = logging.getLogger()
    root.handlers[:] = [_EventBufferHandler()]
    while os.read(descriptor, 1) != b"\n":  # the line that tells a new interpreter where this package is
        continue
    zygote.run_zygote(descriptor, stage.app)


def prepare(setup: Any) -> None:
    """Called where an application is imported, which is never here."""


def describe_application(app: object) -> bytes:
    """In a zygote: what the master has to know of the application."""
    return describe(_stage.registry)


def main(descriptors: list[int], setup: str) -> float:
    """Be a member. The process ends when this returns, in as many seconds as this gives back."""
    stage = _stage
    (began, posix), clock = stage.began, stage.clock
    member_environment = member_process.MemberEnvironment(
        journal=_EventBufferJournal(),
        wall=WallClock(lambda: time_of_day(posix, clock.current_time() - began), steady=True),
        chance=random.Random(0).random,
        clock=clock,
        run_heartbeat=ClockAgent(stage.address).run_heartbeat,
    )
    return member_process.main(descriptors, setup, stage.registry, member_environment)


class _EventBufferJournal(LoggingJournal):
    """Writes everything into the book."""

    remembers = True

    def note(self, member: str, what: str) -> None:
        _stage.event_buffer.write(("event", Event(round(trio.current_time() - _stage.began[0], 5), member, what)))

    def failed(self, member: str, what: str, error: BaseException) -> None:
        super().failed(member, what, error)
        _stage.event_buffer.write(("failure", _portable(error)))


def _portable(error: BaseException) -> BaseException:
    """The error for another process: itself, with its traceback as text; or that, where its class is local."""
    text = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its own methods raise
        return RemoteTraceback(text)
    copy.add_note(str(RemoteTraceback(text)))
    assert isinstance(copy, BaseException)
    return copy


class _EventBufferHandler(logging.Handler):
    """Writes log records into the book, in a form that can be pickled."""

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        _stage.event_buffer.write(("record", record))
