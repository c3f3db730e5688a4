"""Reading a spooler's directory, or one job in it. Called in a thread; does not use Trio."""

from __future__ import annotations

import itertools
import logging
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trio_uwsgi._spool.file_format import decode_head
from trio_uwsgi._spool.functions import Job
from trio_uwsgi._spool.paths import DEAD, READ_FLAGS, TRIES, read_record
from trio_uwsgi._spool.rules import order
from trio_uwsgi._spool.running_jobs import DelayAfter, recover
from trio_uwsgi._spool.tools import dead, delay_reason
from trio_uwsgi._system.inotify import is_local
from trio_uwsgi.errors import BadSpoolFile

if TYPE_CHECKING:
    from trio_uwsgi._spool.files import SpoolFolder
    from trio_uwsgi._spool.paths import Found
    from trio_uwsgi._system.inotify import Watch

__all__ = ["Scan", "job_paths", "read_job", "report_deaths"]

logger = logging.getLogger("trio_uwsgi")

# Jobs per call of `read_some`.
BATCH = 2000
# Seconds by which the clocks of two machines may differ without a warning.
SOON = 60
# The most delayed jobs whose files are read for the warning, each once.
MAX_INSPECTED = 10_000


class Scan:
    """One scan of a directory, in pieces that a thread makes."""

    def __init__(
        self,
        folder: SpoolFolder,
        watch: Watch | None,
        pause_after: DelayAfter | None,
        inspected: set[str],
    ) -> None:
        self._folder = folder
        self._watch = watch
        self._pause_after = pause_after  # None: deaths are counted by the processes that run the jobs
        self._inspected = inspected  # delayed jobs whose files have been read
        self._found: Iterator[Found] | None = None
        self.ended = False
        self.watch_complete = False  # all changes from now on will be reported
        self.dead = 0  # jobs in dead/
        self.deaths = 0  # jobs whose process died

    def read_some(self) -> list[Found]:
        """The next jobs. The first call also counts failed attempts of processes that died, the last one dead jobs.

        Raises:
            SpoolError: the directory cannot be read.
        """
        folder = self._folder
        if self._found is None:
            # Watched before it is read, so that no change is missed.
            if self._watch is not None and os.path.isdir(folder.path):
                self.watch_complete = _watch_all(self._watch, folder)
            if self._pause_after is not None:
                self.deaths = len(report_deaths(folder, self._pause_after))
            self._found = folder.scan()
        some = list(itertools.islice(self._found, BATCH))
        if len(some) < BATCH:
            self.dead = sum(1 for _ in dead(folder))
            self.ended = True
        self._warn_about_future_times(some)
        return some

    def _warn_about_future_times(self, some: list[Found]) -> None:
        """Warn of jobs that are delayed although neither `at=` nor a retry delays them: the times of their files are
        wrong. If the clock was set back, that is every waiting job, so all of them get one line.
        """
        soon = self._folder.now() + SOON
        odd = []
        for found in some:
            if found.due > soon and found.name not in self._inspected and len(self._inspected) < MAX_INSPECTED:
                self._inspected.add(found.name)
                if delay_reason(self._folder, found) is None:
                    odd.append(found)
        if odd:
            logger.warning(
                "spooler %s: job %s has no at=, but its file's time is %.0f s in the future: it waits until then%s; "
                "`trio-uwsgi spool retry` makes it due now",
                *(self._folder.path, odd[0].name, odd[0].due - soon + SOON),
                f", as {len(odd) - 1} other jobs do" if odd[1:] else "",
            )


def _watch_all(watch: Watch, folder: SpoolFolder) -> bool:
    """Watch everything that can happen to jobs; False if some changes will not be reported.

    The directory itself is watched again each time, because it may have been removed and created again; to notice that,
    its parents are watched too.
    """
    above = [place for place in itertools.accumulate(folder.path.split("/")[:-1], "{}/{}".format) if place]
    places = [folder.path, *(f"{folder.path}/{priority}" for priority in folder.priorities())]
    dead_folders = [f"{folder.path}/{place}" for place in (DEAD, *folder.priorities(DEAD))]
    watched = [watch.add(place) for place in places]
    watched += [watch.add(place, removals=True) for place in dead_folders if os.path.isdir(place)]
    return all((*watched, *map(watch.add_itself, above), *map(is_local, places)))


def report_deaths(folder: SpoolFolder, pause_after: DelayAfter) -> list[str]:
    """Count a failed attempt for each job whose process died while it ran, and log it; returns as `recover`."""
    places = recover(folder, pause_after)
    for place in places:
        name = place.removeprefix(f"{DEAD}/")
        moved = "" if place == name else f"; this was the last attempt, moved to {folder.path}/{place}"
        logger.warning("spooler %s: the process of job %s died while it ran%s", folder.path, name, moved)
    return places


def job_paths(folder: SpoolFolder) -> list[bytes]:
    """The paths of all jobs, in the order in which they would run if all of them were due."""
    names = sorted((found.name for found in folder.scan()), key=order)
    return [os.fsencode(f"{folder.path}/{name}") for name in names]


def read_job(folder: SpoolFolder, path: str) -> Job | None:
    """The job in this file; None if there is none that can be read."""
    path = os.path.realpath(path)
    try:
        with open(os.open(path, READ_FLAGS), "rb") as file:
            data = file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        pairs, begin = decode_head(data)
    except (OSError, BadSpoolFile):
        return None
    name = path.removeprefix(f"{folder.path}/")
    tries = read_record(f"{folder.path}/{TRIES}/{name}").tries
    return Job(name=name, path=path, spooler=folder.path, vars=dict(pairs), body=data[begin:], tries=tries + 1)
