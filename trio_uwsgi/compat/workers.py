"""Workers and listening sockets of the module `uwsgi`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_uwsgi._system.listen_queues import listen_queue as queue_of
from trio_uwsgi._system.process_memory import process_memory
from trio_uwsgi.compat.answers import whole
from trio_uwsgi.compat.calling import serving_member

if TYPE_CHECKING:
    from trio_uwsgi._runtime.worker_statistics import WorkerStatistics

__all__ = ["accepting", "listen_queue", "total_requests", "workers"]


def workers() -> tuple[dict[str, Any], ...]:  # Any: int, bytes, and the tuple of applications
    """Return a dict for each worker: its process, status, requests, memory and times.

    uWSGI: `rss` and `vsz` are always filled, and those of the process where workers are tasks; `tx` counts bodies
        without heads; `avg_rt` is the mean of all requests; there the last one counts half. `exceptions` includes
        those of signal handlers. `startup_time`, `interpreter` and `callable` are 0, because they are not known here.
        A new dict each time. Numbers of other processes are up to 0.25 seconds old.
    """
    return tuple(_worker(found) for found in serving_member("workers").services.workers.find())


def total_requests() -> int:
    """Return the number of requests of all workers.

    uWSGI: requests that run count too.
    """
    return sum(worker.requests for worker in serving_member("total_requests").services.workers.find())


def listen_queue(id: int = 0, /) -> int:
    """Return how many connections wait at a listening socket to be accepted.

    uWSGI: also for unix sockets. Where members are processes, only workers have the sockets; elsewhere none is found.
    """
    number = whole(id)
    listeners = serving_member("listen_queue").services.workers.listeners
    if not 0 <= number < len(listeners):
        raise ValueError(f"unable to find socket {number}: this process has {len(listeners)}, counted from 0")
    return queue_of(listeners[number].socket)[0]


def accepting(accepting: int = True, /) -> None:
    """Do nothing: a worker accepts as soon as it serves, and a chain reload waits for that.

    uWSGI: it tells a chain reload that this worker is ready, and 0 that it is not.
    """
    whole(accepting)


def _worker(found: WorkerStatistics) -> dict[str, Any]:
    resident, size = process_memory(found.pid) if found.pid else (0, 0)
    app = {
        "id": 0,
        "modifier1": 0,
        "mountpoint": b"",
        "startup_time": 0,
        "interpreter": 0,
        "callable": 0,
        "requests": found.requests,
        "exceptions": found.failed,
        "chdir": b"",
    }
    return {
        "id": found.number,
        "pid": found.pid,
        "requests": found.requests,
        "delta_requests": found.delta_requests,
        "signals": found.signals,
        "exceptions": found.failed,
        "status": found.status.encode(),
        "rss": resident,
        "vsz": size,
        "running_time": found.micros,
        "last_spawn": found.last_spawn,
        "respawn_count": max(found.spawns - 1, 0),
        "tx": found.sent,
        "avg_rt": found.average,
        "apps": (app,),
    }
