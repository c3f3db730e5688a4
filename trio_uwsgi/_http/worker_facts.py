"""What a format of the access log may show of the worker: its numbers, its requests, the metrics of the runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_uwsgi.errors import MetricError

if TYPE_CHECKING:
    from trio_uwsgi._units.member import Member

__all__ = ["WorkerFacts"]


class WorkerFacts:
    """The facts of one worker.

    Args:
        member: the worker.
        own_requests: the number of its requests.
    """

    def __init__(self, member: Member, own_requests: Callable[[], int]) -> None:
        self.wid = member.number
        self.pid = os.getpid()
        self.wall_now = member.wall_now
        self._services = member.services
        self._own_requests = own_requests
        self._others = 0  # requests of other workers, and of this one's earlier instances
        self._second = -1  # when that was read

    def requests(self, now: float) -> tuple[int, int]:
        """The number of requests of this worker, and of all workers. Those of the others are read once a second."""
        if int(now) != self._second:
            self._second = int(now)
            workers = self._services.workers.find()
            own = sum(worker.delta_requests for worker in workers if worker.number == self.wid)
            self._others = sum(worker.requests for worker in workers) - own
        return self._own_requests(), self._others + self._own_requests()

    def metric(self, name: str) -> str:
        """The number of a metric; "" if there is none of this name."""
        try:
            return str(self._services.metrics.get(name))
        except MetricError:
            return ""
