"""The settings and the statistics of a spooler's directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._spool.rules import Retry

__all__ = ["SpoolSettings", "SpoolStatistics"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Settings of a directory.

    `frequency` is the seconds between two scans, `retry` says when a failed job is retried, `max_tries` has the limit
    of the function that a job's vars name, if it has one; `fsync`: flush jobs to the disk before they are accepted;
    `chance` returns random numbers from 0 to below 1. `watch_only`: the jobs are run in other processes.
    """

    frequency: float
    retry: Retry
    max_tries: Callable[[Mapping[bytes, bytes]], int | None]
    fsync: bool
    chance: Callable[[], float]
    watch_only: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatistics:
    """The jobs of one directory.

    `waiting` for a spooler, `delayed` to a later time, and `running` in this process. At most 75,000 jobs are counted
    as waiting and as many as delayed; `complete` is False if there are more on disk. `done` and `failed` count attempts
    in this process, `dead` the jobs in `dead/`. `oldest`: seconds that the oldest waiting job has been due, 0 without.
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
