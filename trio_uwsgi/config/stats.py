"""The options of the stats server. Pure."""

from __future__ import annotations

import dataclasses

__all__ = ["StatsOptions"]


@dataclasses.dataclass(frozen=True, slots=True)
class StatsOptions:
    """What the stats server needs: whether it sends the head of an HTTP response, and the cores of a worker that it
    shows at least.
    """

    http: bool
    cores: int
