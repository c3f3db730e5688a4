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

    Attributes:
        directory: its path.
        waiting: jobs that wait for a spooler; at most 75,000 are counted.
        delayed: jobs that are to run at a later time; at most 75,000 are counted.
        running: jobs that run now.
        done: attempts that succeeded.
        failed: attempts that failed.
        dead: jobs that were moved to `dead/` after their last attempt.
        oldest: the seconds for which the oldest waiting job has been due; 0 without one.
        complete: False if there are more jobs on the disk than were counted.
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
