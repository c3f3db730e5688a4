"""What each worker of a runtime does and has done, as values, from the numbers that its instances write. Pure.

In the processes of members, and in their master, the numbers are those of the scoreboard; where members are tasks, the
member factory has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

__all__ = ["WorkerStatistics", "worker_statistics"]

Numbers = Mapping[str, float]  # by column of the scoreboard

_SUMMED = ("requests", "running", "failed", "harakiri", "signals", "sent", "micros", "spawns")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """The slot of one worker, with the counters of all instances that it has had.

    Attributes:
        number: the number of the worker, from 1.
        pid: its process; that of the server where workers are tasks; 0 while no instance runs.
        status: as in uWSGI: `"busy"`, `"idle"`, `"sigN"` (the handler of signal N runs), `"pause"` (accepting is
            paused, and no request runs) or `"cheap"` (no instance runs).
        accepting: whether it accepts connections.
        requests: requests so far.
        delta_requests: those of the instance that runs.
        running: requests that run now.
        failed: requests and calls of handlers that raised an exception.
        harakiri: requests and calls of handlers that were ended at their time limit.
        signals: calls of signal handlers.
        sent: bytes of response bodies.
        micros: the microseconds that ended requests took, summed.
        spawns: instances so far.
        last_spawn: when the last one started, in seconds since the epoch; 0 while no instance runs.
    """

    number: int
    pid: int
    status: str
    accepting: bool
    requests: int
    delta_requests: int
    running: int
    failed: int
    harakiri: int
    signals: int
    sent: int
    micros: int
    spawns: int
    last_spawn: int

    @property
    def average(self) -> int:
        """The microseconds that a request took on the average."""
        ended = self.requests - self.running
        return self.micros // ended if ended > 0 else 0


def worker_statistics(number: int, instances: Sequence[Numbers]) -> WorkerStatistics:
    """Add up what the instances in the slot of a worker have written: one, or two while one replaces the other."""
    total = {column: int(sum(instance.get(column, 0) for instance in instances)) for column in _SUMMED}
    last = max(instances, key=lambda instance: instance["last_spawn"])
    return WorkerStatistics(
        number=number,
        pid=int(last["pid"]),
        status=_status(last, total["running"]),
        accepting=bool(last["pid"] and last["heartbeat"]) and not (last["stopping"] or last["paused"]),
        requests=total["requests"],
        delta_requests=int(last["requests"] - last["before"]) if last["pid"] else 0,
        running=total["running"],
        failed=total["failed"],
        harakiri=total["harakiri"],
        signals=total["signals"],
        sent=total["sent"],
        micros=total["micros"],
        spawns=total["spawns"],
        last_spawn=int(last["last_spawn"]),
    )


def _status(last: Numbers, running: int) -> str:
    if not last["pid"]:
        return "cheap"
    if last["signal"]:
        return f"sig{int(last['signal']) - 1}"
    if running:
        return "busy"
    return "pause" if last["paused"] else "idle"
