"""The options of the shared queue, as a group. Pure."""

from __future__ import annotations

import dataclasses

__all__ = ["QueueOptions"]


@dataclasses.dataclass(frozen=True, slots=True)
class QueueOptions:
    """What the shared queue needs: how many slots it has (0: there is no queue), and the fields of `Config` whose names
    begin with `queue_`.
    """

    size: int
    blocksize: int = 8192
    store: str | None = None
    store_sync: float = 0
