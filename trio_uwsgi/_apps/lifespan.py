"""Runs the lifespan of an ASGI application: started before the first request, shut down after the last.

`await nursery.start(lifespan.serve)` returns when the startup is complete; the task runs until `shutdown` or a
cancellation.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import trio

from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.journal import summary
from trio_uwsgi._units.leftovers import LeftOpen, fenced
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.errors import BootError, LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi_exchange import AsgiApp, Message
    from trio_uwsgi._units.calls import Calls

logger = logging.getLogger("trio_uwsgi")


class Lifespan:
    """One application's lifespan.

    Args:
        app: the application.
        mode: `on`: it must support lifespan; `auto`: an application that raises or returns before its startup is
            complete is served without a lifespan, which is logged. sys.exit() during the startup is a failed start in
            both modes.
        calls: the member's, to report failures.
    """

    def __init__(self, app: AsgiApp, mode: Literal["auto", "on"], calls: Calls) -> None:
        self.state: dict[str, object] = {}  # the application's startup fills it, for its requests
        self._app = app
        self._mode = mode
        self._calls = calls
        self._phase: Literal["waiting", "starting", "up", "failed", "stopping", "down"] = "waiting"
        self._failure = ""
        self._status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
        self._stop = trio.Event()
        self._ended = trio.Event()
        self._scope = trio.CancelScope()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the lifespan; reports itself started once the startup is complete, or the application has no lifespan.

        Raises:
            BootError: the startup failed; the application's error is its cause.
        """
        self._status = task_status
        error: BaseException | None = None
        with fenced(self._scope) as fence:
            UNIT.set(Unit(self._calls.member, "lifespan", "", self._scope, 0))
            try:
                await self._app(
                    {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state},
                    self._receive,
                    self._send,
                )
            except BaseException as raised:
                error, passing = split_failure(raised)
                if passing is not None:
                    if error is not None:  # in the same group, so `_judge` will not see it
                        self._report(error)
                    raise passing from passing.__cause__
        self._ended.set()
        self._judge(error or (LeftOpen("lifespan") if fence.left_open else None))

    def _judge(self, error: BaseException | None) -> None:
        """Decide what the end of the lifespan means: a failed start, no lifespan, or an error to report."""
        phase = self._phase
        if phase == "failed":
            # Frameworks give a whole traceback as the reason; its last line is the error, and `error` has the rest.
            reason = (self._failure.strip().splitlines() or ["it gave no reason"])[-1]
            raise BootError(f"the application's startup failed: {reason}") from error
        if phase in ("waiting", "starting"):
            outcome = summary(error) if error else "it returned"
            if isinstance(error, SystemExit):
                raise BootError(f"the application's startup called sys.exit(): {outcome}") from error
            if self._mode == "on":
                raise BootError(f"the application has no lifespan: {outcome}; lifespan='on' requires one") from error
            if error is not None:
                self._report_refusal(error)
            self._status.started()
        elif error is not None:
            self._report(error)
        elif phase == "stopping" and self._failure:
            logger.error("the application's shutdown failed: %s", self._failure)

    def _report(self, error: BaseException) -> None:
        self._calls.failed(Unit(self._calls.member, "lifespan", "", self._scope, 0), error)

    def _report_refusal(self, error: BaseException) -> None:
        """Log why the application is served without a lifespan: a warning if it had received `lifespan.startup`."""
        name = self._calls.member.name
        if self._phase == "starting":
            what = "%s: the startup of the lifespan failed; the application is served without it: %s"
            logger.warning(what, name, summary(error), exc_info=error)
        else:
            logger.debug("%s: the application has no lifespan: it raised %s", name, summary(error))

    async def shutdown(self, seconds: float) -> None:
        """Let the application shut down; after `seconds` it is cancelled.

        Cancellation: it is cancelled at once, which is logged too.
        """
        self._stop.set()
        try:
            with trio.move_on_after(seconds) as limit:
                await self._ended.wait()
        except trio.Cancelled:
            logger.warning("the stop has cut off the application's shutdown")
            raise
        if limit.cancelled_caught:
            logger.error("the application's shutdown took longer than %g s and was cancelled", round(seconds, 1))
            self._scope.cancel()

    async def _receive(self) -> Message:
        if self._phase == "waiting":
            self._phase = "starting"
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        if self._phase == "up":
            self._phase = "stopping"
            return {"type": "lifespan.shutdown"}
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._phase == "starting" and kind == "lifespan.startup.complete":
            self._phase = "up"
            self._status.started()
        elif self._phase == "starting" and kind == "lifespan.startup.failed":
            self._phase = "failed"
            self._failure = str(message.get("message", ""))
        elif self._phase == "stopping" and kind == "lifespan.shutdown.complete":
            self._phase = "down"
        elif self._phase == "stopping" and kind == "lifespan.shutdown.failed":
            self._failure = str(message.get("message", "")) or "it gave no reason"
        elif self._phase == "up" and kind == "lifespan.shutdown.failed":
            # Starlette sends this when it is cancelled, which is a hard stop: there is nothing to report.
            await trio.lowlevel.checkpoint()
        else:
            raise LocalProtocolError(f"the application sent {kind!r} while its lifespan was {self._phase}")
