"""The counters of a runtime, as values."""

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
    """What became of the signals of a runtime. Each call that raised one is in exactly one of the first three counters.

    `undelivered` were accepted and not run, because the runtime stopped or because no member could run them. `lost` are
    those of the `delivered` whose member died before it had run them.
    """

    raised: int
    refused: int
    unregistered: int
    delivered: int
    undelivered: int
    lost: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class MessageStatistics:
    """What became of the messages to mules. Each message that was sent is in exactly one of the first two counters.

    `delivered` were given to user code, `redelivered` a second time, because the mule that handled them died; `lost`
    are those whose second mule died as well. `undelivered` were accepted and not handled before the runtime ended.
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

    Counters continue when a member is restarted or replaced. Members that are processes write their counters four times
    a second, so the numbers are up to 0.25 s old, and what a killed process did after its last write is not counted.
    """

    signals: SignalStatistics
    messages: MessageStatistics
    members: tuple[MemberStatistics, ...]
    http: tuple[HttpStatistics, ...]
    alarms: AlarmStatistics
    spools: tuple[SpoolStatistics, ...]
