"""The counters of a runtime, as values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._alarms.alarms import AlarmStatistics
    from trio_uwsgi._http.statistics import HttpStatistics
    from trio_uwsgi._metrics.rules import MetricStatistics
    from trio_uwsgi._queues.rules import QueueStatistics
    from trio_uwsgi._runtime.member_factory import MemberStatistics
    from trio_uwsgi._runtime.worker_statistics import WorkerStatistics
    from trio_uwsgi._spool.directory import SpoolStatistics

__all__ = ["MessageStatistics", "RuntimeStatistics", "SignalStatistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class SignalStatistics:
    """The signals of a runtime. Each call that raises a signal counts in exactly one of the first three fields.

    Attributes:
        raised: signals that were accepted and queued.
        refused: signals that were refused because a queue was full.
        unregistered: signals that were dropped because they had no handler.
        delivered: signals that were sent to a member that runs; counted once for each recipient.
        undelivered: signals that were accepted and not run, because the runtime stopped or no member could run them.
        lost: those of `delivered` whose member died before it had run them.
    """

    raised: int
    refused: int
    unregistered: int
    delivered: int
    undelivered: int
    lost: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class MessageStatistics:
    """The messages to mules. Each message that is sent counts in exactly one of the first two fields.

    Attributes:
        queued: messages that were accepted.
        refused: messages that were refused because a queue was full.
        delivered: messages that were passed to the application's code.
        redelivered: messages that were delivered a second time, because the mule that handled them died.
        lost: messages that were not delivered a third time, because the second mule died as well.
        undelivered: messages that were accepted and not handled before the runtime ended.
    """

    queued: int
    refused: int
    delivered: int
    redelivered: int
    lost: int
    undelivered: int


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeStatistics:
    """A snapshot of a runtime, from `Runtime.statistics`.

    Counters continue when a member is restarted or replaced. Members that are processes write their counters four times
    a second, so the numbers are up to 0.25 s old. What a killed process did after its last write is not counted.

    Attributes:
        signals: the signals that were raised.
        messages: the messages to mules.
        members: one entry for each worker, mule and spooler.
        http: one entry for each worker.
        workers: what each worker does, as uWSGI shows it; also those that do not run.
        alarms: the alarms that were raised.
        spools: one entry for each directory of the spooler.
        queue: the shared queue; None if there is none.
        metrics: one entry for each metric of `Config.metrics`.
    """

    signals: SignalStatistics
    messages: MessageStatistics
    members: tuple[MemberStatistics, ...]
    http: tuple[HttpStatistics, ...]
    workers: tuple[WorkerStatistics, ...]
    alarms: AlarmStatistics
    spools: tuple[SpoolStatistics, ...]
    queue: QueueStatistics | None
    metrics: tuple[MetricStatistics, ...]
