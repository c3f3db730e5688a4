"""What one worker counts of its requests and connections. Pure."""

from __future__ import annotations

import dataclasses

__all__ = ["HttpStatistics"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpStatistics:
    """The HTTP of one worker slot: `requests` and `connections` of all its instances so far, `running` requests and
    `open` connections now. `name` is that of the worker, as in the statistics of members.
    """

    name: str
    requests: int
    connections: int
    running: int
    open: int
