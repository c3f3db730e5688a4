"""What a spooler runs: jobs, one after the other, and its signals, in tasks of its nursery.

A job is a unit of work with a cancel scope, and ends in one of four ways: its file is removed, kept as it is, kept for
a retry, or moved to `dead/`. Until then the file is in the directory, so a crash never loses a job.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import Ready, ShutdownRequest
from trio_uwsgi._runtime.hooks import hooked
from trio_uwsgi._runtime.member_threads import serve_threads
from trio_uwsgi._spool.functions import FUNCTION, SPOOL_IGNORE, SPOOL_OK, SPOOL_RETRY, VERDICT, Job, verdict
from trio_uwsgi._spool.running_jobs import Running
from trio_uwsgi._units.calls import Result, SharedScope
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.journal import summary
from trio_uwsgi._units.leftovers import in_own_task
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi.errors import Harakiri

if TYPE_CHECKING:
    from trio_uwsgi._spool.claim import Claim
    from trio_uwsgi._spool.directory import Spool
    from trio_uwsgi._spool.functions import SpoolFunction
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.member import Member
    from trio_uwsgi.config.options import SpoolerOptions

__all__ = ["serve_spooler", "spooler_threads"]

logger = logging.getLogger("trio_uwsgi")

# Seconds before the end of the mercy at which a running job is cancelled and kept: if the process were killed, that
# would count as a failed attempt. It is also before the time limit of the `atexit` hooks (`hooks.py`).
LEEWAY = 0.5
# Jobs that begin before other tasks run, as for signals.
TURN = 4
# Seconds without a job after which a cheap spooler stops.
PATIENCE = 10.0
# How many names of unknown functions are logged, once each.
MOST_UNKNOWN = 100


async def serve_spooler(member: Member, calls: Calls, spool: Spool, options: SpoolerOptions) -> None:
    """Run a spooler until the master sends `Stop` or `Drain`; then the running job may end, and no other begins.

    A cancellation ends it at once; its job is kept, without counting an attempt.
    """
    inbox = member.inbox
    async with trio.open_nursery() as services:
        await serve_threads(services, member)
        async with hooked(calls):
            with contextlib.closing(Running(spool.folder)) as running:
                jobs = Jobs(member, calls, spool, running, options)
                async with trio.open_nursery() as loops:
                    loops.start_soon(inbox.serve_signals)
                    loops.start_soon(jobs.serve)
                    member.link.send(Ready())
                    await inbox.stopping.wait()
                    jobs.finish()
                    inbox.finish()
                    if member.heartbeat is not None:  # a process, which is killed at the end of the mercy
                        loops.cancel_scope.deadline = inbox.deadline(LEEWAY)
        services.cancel_scope.cancel()


class Jobs:
    """Runs jobs, one at a time.

    Args:
        member: the spooler.
        calls: how it runs user code.
        spool: where the jobs are.
        running: the record of the running job, which is read after a crash.
        options: how often a job is attempted, and whether the spooler stops when there has been no job for a while.
    """

    def __init__(self, member: Member, calls: Calls, spool: Spool, running: Running, options: SpoolerOptions) -> None:
        self._member = member
        self._calls = calls
        self._spool = spool
        self._running = running
        self._options = options
        self._turn = member.inbox.between_jobs = trio.Lock()
        self._finishing = False
        self._turns = 0
        self._current: tuple[SpoolFunction, Claim, Mapping[bytes, bytes]] | None = None
        self._unknown: set[bytes] = set()  # names of functions in jobs that are not registered

    def finish(self) -> None:
        """Begin no other job."""
        self._finishing = True
        self._spool.dismiss(self._member.number)

    async def serve(self) -> None:
        """Run jobs as they fall due, until `finish`."""
        try:
            while not self._finishing:
                await in_own_task(self._serve_in_one_task, "jobs")
        finally:
            if self._current is not None:  # cancelled
                self._abandon(*self._current[:2])

    async def _serve_in_one_task(self) -> None:
        """Run jobs until `finish`, or until a job has left something open in this task."""
        left_open = False
        while not (self._finishing or left_open):
            shared = SharedScope()
            with shared.opened():
                await self._run_jobs(shared)
            left_open = shared.left_open
            if (harakiri := self._calls.block_ended(shared)) is not None:
                self._settle(Result(False, None, harakiri))

    def _abandon(self, function: SpoolFunction, claim: Claim) -> None:
        if self._member.killed:
            self._running.abandon()
            self._spool.abandon(claim)
        else:  # a hard stop, or the end of the mercy
            self._running.end()
            self._spool.keep(claim)
            name = self._member.name
            what = "%s: the stop has cut off job %s in %s; it is kept, and runs again"
            logger.warning(what, name, function.name, claim.path)
            self._member.journal.note(name, f"job {function.name} cut off")

    async def _run_jobs(self, shared: SharedScope) -> None:
        while not self._finishing and shared.usable:
            claim = await self._next_job()
            if claim is None:
                return
            variables = dict(claim.pairs)
            function = self._member.registry.spool.find(variables)
            if function is None:
                self._report_unknown(claim, variables.get(FUNCTION, b""))
                self._spool.ignore(claim)
                continue
            self._current = function, claim, variables
            try:
                self._turn.acquire_nowait()  # nearly always possible; `acquire` would be a checkpoint
            except trio.WouldBlock:
                await self._turn.acquire()
            try:
                result = await self._call(shared, function, claim, variables)
            finally:
                self._turn.release()
            self._settle(result)

    async def _next_job(self) -> Claim | None:
        """The next job; None after `finish`."""
        self._turns += 1
        if self._turns % TURN == 0:
            await trio.lowlevel.checkpoint()
        if self._options.cheap and not self._finishing:
            with trio.move_on_after(PATIENCE):
                return await self._spool.next_job(self._member.number)
            self._member.link.send(ShutdownRequest())  # the master answers with `Stop`, if nothing waits in the slot
        # `finish` may have been called meanwhile; it wakes only a `next_job` that waits already.
        return None if self._finishing else await self._spool.next_job(self._member.number)

    async def _call(
        self, shared: SharedScope, function: SpoolFunction, claim: Claim, variables: Mapping[bytes, bytes]
    ) -> Result:
        member = self._member
        self._running.begin(claim)
        # Only the first and the last failure of a job are logged with a traceback; `_fail` logs the others in one line.
        what = f"job {function.name}"
        self._calls.retried = what if claim.tries and not self._spool.is_last_try(claim) else ""
        if member.journal.remembers:
            member.journal.note(member.name, what)
        try:
            job = Job(
                name=claim.name,
                path=claim.path,
                spooler=self._spool.folder.path,
                vars=variables,
                body=await self._spool.body(claim) if claim.body_size else b"",
                tries=claim.tries + 1,
            )
            args, kwargs = function.arguments(job)
        except BaseException as error:  # the body cannot be read; or unpickling fails, which can raise anything
            failure, passing = split_failure(error)
            if failure is None or passing is not None:
                raise
            self._calls.report(what, failure)
            return Result(False, None, failure)
        func = functools.partial(function.func, **kwargs) if kwargs else function.func
        if function.is_async:
            return await self._calls.run_under(shared, "job", function.name, func, *args)
        return await self._calls.run("job", function.name, func, *args)

    def _settle(self, result: Result) -> None:
        """Finish, keep, retry or give up the job, as its result says."""
        assert self._current is not None
        (function, claim, variables), self._current = self._current, None
        if result.error is not None:
            why = "harakiri" if isinstance(result.error, Harakiri) else summary(result.error)
            self._fail(function, claim, why, "".join(traceback.format_exception(result.error)))
            return
        said = verdict(result.value, variables)
        if said == SPOOL_OK:
            self._spool.finish(claim)
        elif said == SPOOL_IGNORE:
            self._running.end()
            self._spool.ignore(claim)
        elif said == SPOOL_RETRY and VERDICT in variables:  # uwsgidecorators.spoolforever: not a failure
            self._running.end()
            self._spool.repeat(claim)
        elif said == SPOOL_RETRY:
            why = "the function returned SPOOL_RETRY"
            self._fail(function, claim, why, f"{why}\n")
        else:
            why = f"the function returned {_shown(result.value)}; it returns SPOOL_OK or nothing when the job is done"
            self._fail(function, claim, why, f"{why}\n")

    def _fail(self, function: SpoolFunction, claim: Claim, why: str, report: str) -> None:
        pause = self._spool.fail(claim, report)
        self._member.journal.note(self._member.name, f"job {function.name} {'dead' if pause is None else 'retry'}")
        if pause is None:
            logger.error(
                "%s: job %s failed %s (%s); moved to %s",
                *(self._member.name, function.name, _times(claim.tries + 1), why, claim.path),
            )
        else:
            most = self._options.max_tries if function.max_tries is None else function.max_tries
            attempt = f"{claim.tries + 1} of {most}" if most else f"{claim.tries + 1}"
            logger.warning(
                "%s: job %s: attempt %s failed (%s); retrying in %g s: %s",
                *(self._member.name, function.name, attempt, why, round(pause, 1), claim.path),
            )

    def _report_unknown(self, claim: Claim, name: bytes) -> None:
        if name not in self._unknown and len(self._unknown) < MOST_UNKNOWN:
            self._unknown.add(name)
            logger.warning(
                "%s: jobs for %r stay in the directory: no @uwsgi.spool_handler has that name, and there is no "
                "@uwsgi.spooler for all others; the first one is %s",
                *(self._member.name, name.decode("utf-8", "replace"), claim.path),
            )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _shown(value: object) -> str:
    """What a function returned, for the log: bounded in size, and without calling code of the application."""
    return repr(value) if type(value) in (bool, str, bytes, int) and sys.getsizeof(value) < 200 else f"{type(value)}"


def spooler_threads(member: Member) -> ThreadPool:
    """The threads of a spooler's `def` functions: for a job, and for a signal at the same time."""
    return ThreadPool(2, member.name)
