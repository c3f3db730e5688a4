"""What one worker counts of its requests and connections. Pure."""

from __future__ import annotations

import dataclasses

__all__ = ["HttpStatistics"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpStatistics:
    """The requests and connections of one worker's slot, over HTTP and the uwsgi protocol.

    Attributes:
        name: the name of the worker, as in `worker1`.
        requests: requests so far, of all instances.
        connections: connections so far, of all instances.
        running: requests that run now.
        open: connections that are open now.
    """

    name: str
    requests: int
    connections: int
    running: int
    open: int
