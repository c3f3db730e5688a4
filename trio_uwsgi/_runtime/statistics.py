"""What a runtime counts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._alarms.alarms import AlarmStatistics
    from trio_uwsgi._http.statistics import HttpStatistics
    from trio_uwsgi._runtime.member_factory import MemberStatistics
    from trio_uwsgi._spool.directory import SpoolStatistics

__all__ = ["MessageStatistics", "RuntimeStatistics", "SignalStatistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class SignalStatistics:
    """What became of the signals of a runtime; every one that was raised is in exactly one of the first three counters.

    `undelivered` were accepted and not run, because the runtime stopped or because no member was there to run them.
    `lost` are those of the `delivered` whose member died before it had run them.
    """

    raised: int
    refused: int
    unregistered: int
    delivered: int
    undelivered: int
    lost: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class MessageStatistics:
    """What became of the messages to mules; every one that was sent is in exactly one of the first two counters.

    `delivered` were given to user code, `redelivered` for a second time, because the mule died that handled them;
    `lost` are those that killed their mule twice. `undelivered` were accepted and not handled before the runtime ended.
    """

    queued: int
    refused: int
    delivered: int
    redelivered: int
    lost: int
    undelivered: int


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeStatistics:
    """A snapshot of a runtime. `http` has one entry for each worker, `spools` one for each directory.

    What is counted goes on from one member of a seat to the next. Where members are processes, each writes down how it
    is doing four times a second: numbers are late by as much, and what it had done since is lost if it is killed.
    """

    signals: SignalStatistics
    messages: MessageStatistics
    members: tuple[MemberStatistics, ...]
    http: tuple[HttpStatistics, ...]
    alarms: AlarmStatistics
    spools: tuple[SpoolStatistics, ...]
