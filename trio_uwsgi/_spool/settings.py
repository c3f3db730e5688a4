"""What a spooler's directory is told, and what it tells about itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._spool.rules import Retry

__all__ = ["SpoolSettings", "SpoolStatistics"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """What a spooler is told: seconds between two looks at everything, when a job is tried again, and how often at most
    where its vars say which function it is for; whether to wait for the disk; and `chance`, which gives numbers from 0
    to below 1. `watch_only`: the jobs are done in other processes.
    """

    frequency: float
    retry: Retry
    max_tries: Callable[[Mapping[bytes, bytes]], int | None]
    fsync: bool
    chance: Callable[[], float]
    watch_only: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatistics:
    """One directory. Jobs that are `waiting` for a spooler, `delayed` to a later time, and `running` here, as far as
    this process knows (`complete`: it knows all; in a directory with very many it knows the first ones); those that
    were `done` and have `failed` a try here; and those in `dead/`. `oldest` is for how many seconds one has been due, 0
    if none is.
    """

    directory: str
    waiting: int
    delayed: int
    running: int
    done: int
    failed: int
    dead: int
    oldest: float
    complete: bool
