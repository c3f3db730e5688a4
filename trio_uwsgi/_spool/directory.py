"""One directory of jobs, for the spoolers of this process: notices jobs and hands out each when it is due.

Theory. The files are authoritative; the index in memory (`rules.py`) may be out of date, because other processes, also
uWSGI's, use the same directory. So a job is *claimed* before it is run: its file is locked and checked again
(`claim.py`). inotify reports changes at once (`_system/inotify.py`). Besides, a thread scans the whole directory: every
`frequency` seconds where inotify does not report all changes (a network file system), and otherwise `frequency` seconds
after a job was left of which no change will be reported: one that was locked, ignored or delayed, or is dead.

Releasing a claim is itself reported as a change, because the lock needs the file to be open for writing, and then it is
closed. So the reports about a job that was claimed and left unchanged are ignored for a while (`_quiet_until`).
Otherwise two processes would wake each other for ever.

Claiming, reading and removing a job take tens of microseconds on a local directory and are done on Trio's thread; a
pool thread would cost more than that. Slow operations use a thread: scans, large bodies, and fsync.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from trio_uwsgi._spool.claim import HOLD_BACK, Claim
from trio_uwsgi._spool.paths import DEAD
from trio_uwsgi._spool.rules import SpoolIndex, is_priority
from trio_uwsgi._spool.running_jobs import RunningRecords
from trio_uwsgi._spool.scan import Scan, report_deaths
from trio_uwsgi._spool.settings import SpoolSettings, SpoolStatistics
from trio_uwsgi._system.inotify import open_watch
from trio_uwsgi.errors import SpoolError

if TYPE_CHECKING:
    from trio_uwsgi._signals.ticker import WallClock
    from trio_uwsgi._spool.files import SpoolFolder
    from trio_uwsgi._spool.request import SpoolRequest
    from trio_uwsgi._spool.rules import Retry
    from trio_uwsgi._system.inotify import Watch

__all__ = ["Spool", "SpoolSettings", "SpoolStatistics"]

logger = logging.getLogger("trio_uwsgi")

# Largest body in bytes that is read, or written without fsync, on Trio's thread.
SMALL = 65536
# Seconds until `on_work` is called again for jobs that are still due: a spooler may have stopped as the job arrived.
ASK_AGAIN = 1.0


class Spool:
    """One directory.

    Args:
        folder, settings: its files and its options.
        wall: the time of day, as in the files' times.
    """

    def __init__(self, folder: SpoolFolder, settings: SpoolSettings, wall: WallClock) -> None:
        self.folder = folder
        self.frequency = settings.frequency
        self._settings = settings
        self._wall = wall
        self._index = SpoolIndex()
        # Jobs whose changes are ignored, and until when; and jobs that could not be claimed. A scan clears both.
        self._quiet_until: dict[str, float] = {}
        self._skipped: set[str] = set()
        self._inspected: set[str] = set()  # by scans, see `scan.py`
        self._idle: dict[int, Task] = {}  # spoolers that wait for a job, by number
        self._changed = trio.Event()
        self.unwatched = False  # no inotify: after `write`, `written` adds the job to the index
        self._rescan = False
        self._scan_wanted = trio.Event()
        self._watch_complete = False  # the system reports all changes
        self._left_since = math.inf  # when a job was left that only a scan will find again
        self._records = RunningRecords(folder)
        self.on_work: Callable[[], None] | None = None  # called when a job is due and no spooler waits for one
        self.running = self.done = self.failed = self.dead = 0

    def __repr__(self) -> str:
        return f"<Spool {self.folder.path}: {self._index!r}, {self.running} running>"

    def statistics(self) -> SpoolStatistics:
        """The counters, as far as this process knows them."""
        counts = self._index.statistics(self._wall.now())
        return SpoolStatistics(
            directory=self.folder.path,
            waiting=counts.waiting,
            delayed=counts.delayed,
            running=self.running,
            done=self.done,
            failed=self.failed,
            dead=self.dead,
            oldest=counts.oldest or 0.0,
            complete=counts.complete,
        )

    # ----- queueing

    async def submit(self, request: SpoolRequest) -> bytes:
        """Queue a job and return the path of its file. A cancelled call has queued nothing.

        Raises:
            SpoolError: the file cannot be written.
        """
        await trio.lowlevel.checkpoint()
        # The thread is not abandoned on cancel: if the job was queued, this call returns normally.
        slow = self._settings.fsync or len(request.body) > SMALL
        path = await trio.to_thread.run_sync(self.write, request) if slow else self.write(request)
        if self.unwatched:
            self.written(path)
        return path

    def write(self, request: SpoolRequest) -> bytes:
        """The part of `submit` that blocks, for any thread; where the directory is `unwatched`, `written` must follow.

        Raises:
            SpoolError: the file cannot be written.
        """
        at, priority = request.at, request.priority
        sync = self._settings.fsync
        return os.fsencode(self.folder.write(request.pairs, request.body, priority=priority, at=at, sync=sync))

    def written(self, path: bytes) -> None:
        """A job was written to this file."""
        self.notice(self._name(os.fsdecode(path)))

    # ----- the index

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the index up to date and hand out jobs as they become due, until cancelled.

        Raises:
            BootError: the directory cannot be used.
        """
        await trio.to_thread.run_sync(self.folder.prepare)
        watch = open_watch(removals=self._settings.watch_only)
        with watch or contextlib.nullcontext(), contextlib.closing(self._records):
            async with trio.open_nursery() as nursery:
                if watch is not None and watch.add(self.folder.path):
                    nursery.start_soon(self._watch, watch)
                else:
                    self.unwatched = True
                await self._scan(watch)
                task_status.started()
                nursery.start_soon(self._scan_when_due, watch)
                await self._hand_out()

    async def _watch(self, watch: Watch) -> None:
        root = self.folder.path
        while True:
            for change in await watch.changes():
                # Perhaps a new directory of a priority; or inotify's queue has overflowed.
                if not change.folder or (change.is_folder and change.folder == root and is_priority(change.file)):
                    self._rescan = True
                    self._scan_wanted.set()
                elif change.is_folder or change.folder.startswith(f"{root}/{DEAD}"):  # a scan counts dead jobs
                    self._request_rescan()
                else:
                    self.notice(self._name(f"{change.folder}/{change.file}"))

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self.folder.path}/")

    def _request_rescan(self) -> None:
        """Have the directory scanned in `frequency` seconds: a job was left of which no change will be reported."""
        if self._left_since == math.inf:
            self._left_since = trio.current_time()
            self._scan_wanted.set()

    def notice(self, name: str) -> None:
        """A file was written or changed. It may not be a job, and may be gone again."""
        if self._quiet_until and self._quiet_until.get(name, -math.inf) > self._wall.now():
            return
        found = self.folder.stat_job(name)
        if found is None:
            self._index.forget(name)
        else:
            self._index.notice(name, found.due, now := self._wall.now())
            if found.due > now:  # perhaps by mistake: the scan warns of that
                self._request_rescan()
            if self._idle or self.on_work is not None:
                self._changed.set()

    async def _scan_when_due(self, watch: Watch | None) -> None:
        """Scan the directory whenever a scan is due. Jobs are noticed and handed out during scans too."""
        scanned = trio.current_time()
        while True:
            due = min(self._left_since, math.inf if self._watch_complete else scanned) + self.frequency
            if trio.current_time() >= due or self._rescan:
                self._rescan = False
                self._left_since = math.inf
                self._quiet_until.clear()
                self._skipped.clear()
                await self._scan(watch)
                scanned = trio.current_time()
            elif self._index.wants_scan:  # for jobs that were not in memory, so skipped ones stay skipped
                await self._scan(watch)
            else:
                with trio.move_on_at(due):
                    await self._scan_wanted.wait()
                self._scan_wanted = trio.Event()

    async def _scan(self, watch: Watch | None) -> None:
        """Scan the whole directory. Jobs that are handed out meanwhile may be out of order."""
        index = self._index
        index.begin_scan()
        scan = Scan(self.folder, watch, None if self._settings.watch_only else self._pause_after, self._inspected)
        try:
            while not scan.ended:
                batch = await trio.to_thread.run_sync(scan.read_some)
                now = self._wall.now()
                for name, due, _ in batch:
                    if name in self._skipped or self._quiet_until.get(name, -math.inf) > now:
                        index.still_there(name)
                    else:
                        index.notice(name, due, now)
                self._changed.set()
        except SpoolError as error:
            logger.error("a spool directory cannot be scanned: %s", error)  # the index stays as it is
            self._watch_complete = False
            return
        self._watch_complete = scan.watch_complete
        index.end_scan()
        self.dead = scan.dead
        self.failed += scan.deaths

    def _pause_after(self, claim: Claim, tries: int) -> float | None:
        """Seconds until the next attempt after `tries` failed ones; None if there is none."""
        return self._retry(claim).delay_after(tries, self._settings.chance())

    def is_last_try(self, claim: Claim) -> bool:
        """Is this the job's last attempt?"""
        return self._retry(claim).delay_after(claim.tries + 1, 0) is None

    def _retry(self, claim: Claim) -> Retry:
        retry, limit = self._settings.retry, self._settings.max_tries(dict(claim.pairs))
        return retry if limit is None else dataclasses.replace(retry, max_tries=limit)

    # ----- handing out

    async def next_job(self, number: int) -> Claim | None:
        """Wait for the job that is due first, and claim it. `finish`, `keep` or another method below ends the claim.

        A cancelled wait has claimed nothing. Returns None after `dismiss`. Other tasks run only if it has to wait.

        Args:
            number: the spooler's number. If several spoolers wait, the lowest number gets the next job.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        claim = self._claim()
        if claim is not None:
            if self.on_work is not None:
                self._changed.set()  # there may be work for another spooler
            return claim
        self._idle[number] = current_task()
        self._changed.set()  # `_hand_out` sleeps until the next job is due, now that a spooler waits

        def abort(_: RaiseCancelT) -> Abort:
            del self._idle[number]
            return Abort.SUCCEEDED

        return cast("Claim | None", await wait_task_rescheduled(abort))

    def dismiss(self, number: int) -> None:
        """End the wait of this spooler."""
        if (task := self._idle.pop(number, None)) is not None:
            reschedule(task)

    @property
    def unfinished(self) -> int:
        """How many jobs are due or run in this process. One that runs in another process counts until it is removed."""
        return self.running + self._index.due(self._wall.now())

    def set_frequency(self, seconds: float) -> None:
        """Set the seconds between two scans; the next one is that long after the last one."""
        self.frequency = seconds
        self._scan_wanted.set()

    async def _hand_out(self) -> None:
        while True:
            while self._idle and (claim := self._claim()) is not None:
                reschedule(self._idle.pop(min(self._idle)), outcome.Value(claim))
            due = self._until_due() if self._idle or self.on_work is not None else math.inf
            if self.on_work is not None and not self._idle and due <= 0:
                self.on_work()
                due = ASK_AGAIN
            if due < math.inf and not self._wall.steady:  # the system's clock may be set meanwhile
                due = min(due, self.frequency)
            with trio.move_on_after(due):
                await self._changed.wait()
            self._changed = trio.Event()

    def _until_due(self) -> float:
        due = self._index.next_due(now := self._wall.now())
        return math.inf if due is None else max(0.0, due - now)

    def _claim(self) -> Claim | None:
        """Claim the first job that is due and still exists; None if there is none."""
        if self._index.wants_scan:
            self._scan_wanted.set()
        while (entry := self._index.pop(self._wall.now())) is not None:
            claim = self.folder.claim(entry.name)
            if isinstance(claim, Claim) and self._records.has_leftover():
                # A process died while it ran a job. If that is this one, an attempt has failed, and it is not due yet.
                claim.abandon()
                self.failed += len(report_deaths(self.folder, self._pause_after))
                claim = self.folder.claim(entry.name)
            if isinstance(claim, Claim):
                self.running += 1
                return claim
            if claim.why != "gone":
                self._request_rescan()
            if claim.until is None:  # the holder of the lock closes the file in the end, which is noticed
                self._index.forget(entry.name)
                if claim.why != "gone":
                    self._skipped.add(entry.name)
            else:
                self._index.put_back(entry, claim.until)
                self._quiet_until[entry.name] = claim.until
            if claim.detail:
                logger.warning("spooler %s: a job cannot be run: %s", self.folder.path, claim.detail)
                self.dead += claim.why == "dead"
        return None

    async def body(self, claim: Claim) -> bytes:
        """A job's whole body."""
        if claim.body_size > SMALL:
            return await trio.to_thread.run_sync(claim.read_body)
        return claim.read_body()

    # ----- the end of a claim

    def finish(self, claim: Claim) -> None:
        """The job is done: remove it."""
        self.done += 1
        self._end(claim, claim.done)

    def keep(self, claim: Claim) -> None:
        """The job was not run, or was interrupted: leave it unchanged, without counting an attempt."""
        self._end(claim, claim.keep)
        self.notice(claim.name)

    def ignore(self, claim: Claim) -> None:
        """No function here handles the job: leave it, and offer it again after the next scan."""
        self._end(claim, claim.keep)
        self._quiet_until[claim.name] = math.inf
        self._request_rescan()

    def repeat(self, claim: Claim) -> None:
        """The job is done, and is to run again after `frequency` seconds."""
        self.done += 1
        self._end(claim, partial(claim.keep, self._wall.now() + self.frequency))
        self.notice(claim.name)

    def abandon(self, claim: Claim) -> None:
        """The spooler died while the job ran. The next claim of any job finds that, and counts a failed attempt."""
        self._end(claim, claim.abandon)
        self.notice(claim.name)

    def fail(self, claim: Claim, report: str) -> float | None:
        """The job failed: retry it after a delay, which is returned in seconds, or move it to `dead/` (None).

        A job that cannot be moved to `dead/` is retried.
        """
        self.failed += 1
        pause = self._pause_after(claim, claim.tries + 1)
        if pause is not None:
            self._end(claim, partial(claim.retry, self._wall.now() + pause, report))
            self.notice(claim.name)
        elif self._end(claim, partial(claim.move_to_dead, report)):
            self.dead += 1
        else:
            pause = HOLD_BACK
        return pause

    def _end(self, claim: Claim, how: Callable[[], None]) -> bool:
        self.running -= 1
        self._index.forget(claim.name)
        try:
            how()
        except SpoolError as error:  # the disk refused the change; the job still exists
            logger.error("spooler %s: a job's outcome was not saved: %s", self.folder.path, error)
            self._quiet_until[claim.name] = math.inf
            self._request_rescan()
            return False
        return True
