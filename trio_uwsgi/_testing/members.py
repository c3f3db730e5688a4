"""The entry points of zygotes and members that were forked from a test.

A zygote calls the functions here by name, as it calls those of `_member_entry.py` in production. Both find the
`InheritedState` in memory, because they were forked from the test's process.
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
from trio_uwsgi._process.member_setup import MemberEnvironment
from trio_uwsgi._process.zygote_control import RemoteTraceback
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi._signals.ticker import WallClock, time_of_day
from trio_uwsgi._testing.clock_agent import ClockAgent
from trio_uwsgi._testing.notes import Notes
from trio_uwsgi._units.journal import Event, LoggingJournal
from trio_uwsgi.compat.importing import enter

if TYPE_CHECKING:
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._testing.event_buffer import EventBuffer
    from trio_uwsgi.compat.facts import Facts

__all__ = ["InheritedState", "describe_application", "main", "prepare", "run_zygote"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InheritedState:
    """What the processes of one runtime inherit from the test's process.

    Args:
        app: the application.
        registry: its declarations.
        event_buffer: where members write events, log records, failures and notes.
        address: where the process table accepts their clock agents.
        clock: shows the test's time.
        began: when the runtime started, on that clock and in POSIX seconds.
        facts: what the module `uwsgi` says of it; None without that module.
    """

    app: object
    registry: Registry
    event_buffer: EventBuffer
    address: bytes
    clock: trio.abc.Clock
    began: tuple[float, float]
    facts: Facts | None


_inherited: InheritedState


def run_zygote(inherited: InheritedState, descriptor: int) -> NoReturn:
    """Run as a zygote, in a process that was just forked from the test."""
    global _inherited
    _inherited = inherited
    Notes._event_buffer = inherited.event_buffer
    root = logging.getLogger()
    root.handlers[:] = [_EventBufferHandler()]
    while os.read(descriptor, 1) != b"\n":  # skip the line that tells a new interpreter where this package is
        continue
    if inherited.facts is not None:
        enter(inherited.facts)
    zygote.run_zygote(descriptor, inherited.app)


def prepare(setup: Any) -> None:
    """Not called here: a zygote calls it before it imports an application, and a test's is not imported."""


def describe_application(app: object) -> bytes:
    """In a zygote: describe the application for the master."""
    return describe(_inherited.registry)


def main(descriptors: list[int], setup: str) -> float:
    """Run as a member. Returns the seconds within which the process has to end afterwards."""
    inherited = _inherited
    (began, posix), clock = inherited.began, inherited.clock
    member_environment = MemberEnvironment(
        journal=_EventBufferJournal(),
        wall=WallClock(lambda: time_of_day(posix, clock.current_time() - began), steady=True),
        chance=random.Random(0).random,
        clock=clock,
        run_heartbeat=ClockAgent(inherited.address).run_heartbeat,
    )
    return member_process.main(descriptors, setup, inherited.registry, member_environment)


class _EventBufferJournal(LoggingJournal):
    """Writes events and failures into the event buffer."""

    remembers = True

    def note(self, member: str, what: str) -> None:
        _inherited.event_buffer.write(
            ("event", Event(round(trio.current_time() - _inherited.began[0], 5), member, what))
        )

    def failed(self, member: str, what: str, error: BaseException) -> None:
        super().failed(member, what, error)
        _inherited.event_buffer.write(("failure", _portable(error)))


def _portable(error: BaseException) -> BaseException:
    """The error in a form that can be pickled: itself with its traceback as a note, or else a `RemoteTraceback`."""
    text = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # its own methods may raise any exception
        return RemoteTraceback(text)
    copy.add_note(str(RemoteTraceback(text)))
    assert isinstance(copy, BaseException)
    return copy


class _EventBufferHandler(logging.Handler):
    """Writes log records into the event buffer, in a form that can be pickled."""

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        _inherited.event_buffer.write(("record", record))
