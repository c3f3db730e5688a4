"""What a spooler does: one job after the other, and its signals, each a task of its own nursery. Floor 3.

A job is a unit of work with a cancel scope, and ends in one of four ways: it is crossed off, kept as it is, tried again
later, or laid aside in `dead/`. Whatever happens in between, its file is there.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._core.spool_functions import FUNCTION, SPOOL_IGNORE, SPOOL_OK, SPOOL_RETRY, VERDICT, Job, verdict
from trio_uwsgi._tasks.calls import Result
from trio_uwsgi._tasks.spool_running import Running
from trio_uwsgi._tasks.threads import ThreadPool
from trio_uwsgi._wire.frames import Ready

if TYPE_CHECKING:
    from trio_uwsgi._core.spool_functions import SpoolFunction
    from trio_uwsgi._tasks.calls import Calls
    from trio_uwsgi._tasks.spool import Spool
    from trio_uwsgi._tasks.spool_claim import Claim
    from trio_uwsgi._tasks.unit import Member

__all__ = ["serve_spooler", "spooler_threads"]

logger = logging.getLogger("trio_uwsgi")

# Names of unknown functions that are logged, once each.
MOST_STRANGERS = 100


async def serve_spooler(member: Member, calls: Calls, spool: Spool) -> None:
    """Be a spooler until the master says stop; then the job that runs may end, and no other is begun.

    A cancellation ends it at once; its job is kept, and does not count as a try.
    """
    inbox = member.inbox
    async with trio.open_nursery() as services:
        await services.start(member.threads.serve)
        await services.start(member.rpc_threads.serve)
        with contextlib.closing(await trio.to_thread.run_sync(Running, spool.folder)) as running:
            jobs = Jobs(member, calls, spool, running)
            async with trio.open_nursery() as loops:
                loops.start_soon(inbox.serve_signals)
                loops.start_soon(jobs.serve)
                member.link.send(Ready())
                await inbox.stopping.wait()
                jobs.finish()
                inbox.finish()
        services.cancel_scope.cancel()


class Jobs:
    """Runs jobs, one at a time.

    Args:
        member: the spooler.
        calls: how it runs user code.
        spool: where the jobs are.
        running: the record of the job that runs, for whoever comes after a crash.
    """

    def __init__(self, member: Member, calls: Calls, spool: Spool, running: Running) -> None:
        self._member = member
        self._calls = calls
        self._spool = spool
        self._running = running
        self._turn = member.inbox.between_jobs = trio.Lock()
        self._waiting = trio.CancelScope()
        self._finishing = False
        self._strangers: set[bytes] = set()  # functions that jobs named and nobody has

    def finish(self) -> None:
        """Begin no other job."""
        self._finishing = True
        self._waiting.cancel()

    async def serve(self) -> None:
        """Run jobs as they fall due, until `finish`."""
        while not self._finishing:
            with trio.CancelScope() as self._waiting:
                claim = await self._spool.next_job(self._member.number)
            if self._waiting.cancelled_caught:
                return
            await self._run(claim)

    async def _run(self, claim: Claim) -> None:
        settled = False
        try:
            variables = dict(claim.pairs)
            function = self._member.registry.spool.find(variables)
            if function is None:
                self._report_stranger(claim, variables.get(FUNCTION, b""))
                self._spool.ignore(claim)
            elif self._finishing:
                self._spool.keep(claim)
            else:
                async with self._turn:
                    self._running.begin(claim)
                    result = await self._call(function, claim, variables)
                self._settle(function, claim, variables, result)
            settled = True
        finally:
            if not settled:  # cancelled: the runtime ends at once
                self._running.end()
                self._spool.keep(claim)

    async def _call(self, function: SpoolFunction, claim: Claim, variables: Mapping[bytes, bytes]) -> Result:
        job = Job(
            name=claim.name,
            path=claim.path,
            spooler=self._spool.folder.path,
            vars=variables,
            body=await self._spool.body(claim),
            tries=claim.tries + 1,
        )
        self._member.journal.note(self._member.name, f"job {function.name}")
        try:
            args, kwargs = function.arguments(job)
        except Exception as error:  # unpickling can raise anything
            self._calls.failures += 1
            self._member.journal.failed(self._member.name, f"job {function.name}", error)
            return Result(False, None, error)
        return await self._calls.run("job", function.name, functools.partial(function.func, *args, **kwargs))

    def _settle(self, function: SpoolFunction, claim: Claim, variables: Mapping[bytes, bytes], result: Result) -> None:
        """Do with the job what its run says."""
        if result.error is not None:
            self._fail(function, claim, "".join(traceback.format_exception(result.error)))
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
            self._fail(function, claim, "the function returned SPOOL_RETRY\n")
        else:
            report = f"the function returned {result.value!r}; it returns SPOOL_OK or nothing when the job is done\n"
            logger.error("%s: job %s: %s", self._member.name, function.name, report.rstrip())
            self._fail(function, claim, report)

    def _fail(self, function: SpoolFunction, claim: Claim, report: str) -> None:
        pause = self._spool.fail(claim, function.max_tries, report)
        self._member.journal.note(self._member.name, f"job {function.name} {'dead' if pause is None else 'again'}")
        if pause is None:
            logger.error(
                "%s: job %s failed %d times and was laid aside: %s",
                *(self._member.name, function.name, claim.tries + 1, claim.path),
            )
        else:
            logger.warning(
                "%s: job %s failed for the %d. time and is tried again in %g s: %s",
                *(self._member.name, function.name, claim.tries + 1, pause, claim.name),
            )

    def _report_stranger(self, claim: Claim, name: bytes) -> None:
        if name not in self._strangers and len(self._strangers) < MOST_STRANGERS:
            self._strangers.add(name)
            logger.warning(
                "%s: jobs for %r stay where they are: no @uwsgi.spool_handler has that name, and there is no "
                "@uwsgi.spooler for all others; the first one is %s",
                *(self._member.name, name.decode("utf-8", "replace"), claim.path),
            )


def spooler_threads(member: Member) -> ThreadPool:
    """The threads of a spooler's `def` functions: of a job, and of a signal that came meanwhile."""
    return ThreadPool(2, member.name)
