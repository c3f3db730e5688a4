"""Alarms: does what the configuration says when one is raised.

Raising is plain and never waits; a task takes alarms from a bounded queue and does a few at once, each with a time
limit. Whatever an alarm does, and whatever it logs, raises no other alarm: a context variable says so to the log
handler. (uWSGI's `log` alarm feeds itself for as long as its line matches.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import subprocess
from collections import deque
from contextvars import ContextVar
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import trio

from trio_uwsgi._alarms.rules import RepeatFilter, alarms_of
from trio_uwsgi._units.journal import only_error
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi.config.options import Alarm, AlarmOptions

__all__ = ["ALARM", "AlarmStatistics", "Alarms"]

logger = logging.getLogger("trio_uwsgi")
alarm_logger = logging.getLogger("trio_uwsgi.alarm")

# Alarms that wait. More are dropped, counted, and told of when there is room again.
QUEUE = 1000
# Alarms that are done at once, and the seconds each of them has.
CONCURRENT = 8
TIME_LIMIT = 30.0
# The kind of the units that alarms are. (`uwsgi.alarm` raises none from them.)
ALARM = "alarm"
# Bytes of what a failing command said that are logged.
OUTPUT_TAIL = 2000

_doing_alarm: ContextVar[bool] = ContextVar("trio_uwsgi_alarming", default=False)


@dataclasses.dataclass(frozen=True, slots=True)
class AlarmStatistics:
    """Alarms that were let through (`raised`), held back because they repeated the last message (`suppressed`), had no
    room or no time before the end (`dropped`), or could not be done (`failed`, which are `raised` too).
    """

    raised: int
    suppressed: int
    dropped: int
    failed: int


class Router(Protocol):
    """What alarms need of the master."""

    def raise_signal(self, signum: int, origin: str) -> None: ...

    def post(self, message: bytes, mule: int, origin: str) -> None: ...


class Alarms:
    """The alarms of one runtime.

    Args:
        options: what they do, how often, and which log lines raise them.
        calls: runs those that are functions.
        router: takes those that are signals and messages.
    Raises:
        ConfigError: one posts to an address, and httpx is not installed.
    """

    def __init__(self, options: AlarmOptions, calls: Calls, router: Router) -> None:
        self._options = options
        self.rules = options.rules
        self._calls = calls
        self._router = router
        self._repeat_filter = RepeatFilter(options.freq)
        self._raised = self._suppressed = self._dropped = self._failed = 0
        self._unlogged = 0  # of the dropped ones
        self._send, self._receive = trio.open_memory_channel[tuple["Alarm", str]](QUEUE)
        if any(alarm.kind == "curl" for alarm in options.alarms.values()):
            _import_httpx()

    def statistics(self) -> AlarmStatistics:
        """The counters, as they are now."""
        return AlarmStatistics(self._raised, self._suppressed, self._dropped, self._failed)

    def ring(self, name: str, message: str) -> None:
        """Raise an alarm that is configured. Never waits."""
        if not self._repeat_filter.allows(name, message, trio.current_time()):
            self._suppressed += 1
            return
        try:
            self._send.send_nowait((self._options.alarms[name], message))
        except trio.WouldBlock:
            self.drop()
        except trio.ClosedResourceError:
            self._dropped += 1
            alarm_logger.warning("alarm %s was raised when the runtime had ended: %s", name, message)
        else:
            self._raised += 1

    def drop(self) -> None:
        """Count an alarm that there was no room for."""
        self._dropped += 1
        self._unlogged += 1

    def finish(self) -> None:
        """Let `serve` return when what was raised before is done."""
        self._send.close()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do alarms until `finish`, and listen to the log meanwhile. A cancellation ends those under way."""
        handler = _LogHandler(self, trio.lowlevel.current_trio_token())
        if self._options.rules:
            logging.getLogger().addHandler(handler)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(CONCURRENT if self._options.alarms else 1):
                    nursery.start_soon(self._work)
                task_status.started()
        finally:
            logging.getLogger().removeHandler(handler)
            self._send.close()
            if undone := self._receive.statistics().current_buffer_used:
                self._raised -= undone
                self._dropped += undone
                logger.error("%d alarms were not done before the end", undone)

    async def _work(self) -> None:
        _doing_alarm.set(True)
        async for alarm, message in self._receive:
            if self._unlogged:
                unlogged, self._unlogged = self._unlogged, 0
                logger.error("%d alarms were dropped: %d were waiting already", unlogged, QUEUE)
            self._calls.member.journal.note(self._calls.member.name, f"alarm {alarm.name}")
            with trio.move_on_after(TIME_LIMIT) as scope:
                try:
                    await self._do(alarm, message)
                except* Exception as group:  # whatever it is, the next alarm is rung
                    self._fail(alarm, str(only_error(group)))
            if scope.cancelled_caught:
                self._fail(alarm, f"it was not done after {TIME_LIMIT:g} s")

    def _fail(self, alarm: Alarm, problem: str) -> None:
        self._failed += 1
        logger.error("alarm %s could not be done: %s", alarm.name, problem)

    async def _do(self, alarm: Alarm, message: str) -> None:
        data = message.encode("utf-8", "replace")  # a log line may have parts of names that are not UTF-8
        if alarm.call is not None:
            result = await self._calls.run(ALARM, alarm.name, alarm.call, message)
            self._failed += not result.returned
        elif alarm.kind == "log":
            alarm_logger.error("ALARM: %s", " ".join(filter(None, (alarm.argument, message))))
        elif alarm.kind == "signal":
            self._router.raise_signal(alarm.number, f"alarm {alarm.name}")
        elif alarm.kind == "mule":
            self._router.post(data, alarm.number, f"alarm {alarm.name}")
        elif alarm.kind == "cmd":
            await self._run_command(alarm, data)
        else:
            await self._post(alarm, data)

    async def _run_command(self, alarm: Alarm, data: bytes) -> None:
        run = partial(
            trio.run_process,
            alarm.argument,
            shell=True,
            stdin=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = bytearray()

        async def listen(output: trio.lowlevel.FdStream) -> None:
            async for piece in output:
                said[:] = (said + piece)[-OUTPUT_TAIL:]

        async with trio.open_nursery() as listening:
            async with trio.open_nursery() as running:
                process: trio.Process = await running.start(run)
                assert isinstance(process.stdout, trio.lowlevel.FdStream)
                listening.start_soon(listen, process.stdout)
            # What it has left running in the background may keep its output open for ever.
            listening.cancel_scope.cancel()
        async with process.stdout as output:
            with contextlib.suppress(BlockingIOError, trio.ClosedResourceError):
                said += os.read(output.fileno(), 65536)  # all that a pipe holds
        if process.returncode:
            shown = said[-OUTPUT_TAIL:].decode("utf-8", "replace").strip()
            self._fail(alarm, f"{alarm.argument!r} ended with {process.returncode}: {shown}")

    async def _post(self, alarm: Alarm, data: bytes) -> None:
        httpx = _import_httpx()
        try:
            async with httpx.AsyncClient(timeout=TIME_LIMIT) as client:
                headers = {"content-type": "text/plain; charset=utf-8"}
                answer = await client.post(alarm.argument, content=data, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._fail(alarm, f"{alarm.argument}: {error!r}")
            return
        if answer.status_code >= 400:
            self._fail(alarm, f"{alarm.argument} answered {answer.status_code}")


def _import_httpx() -> ModuleType:
    try:
        import httpx
    except ModuleNotFoundError:
        raise ConfigError(
            "an alarm posts to an address, and httpx is not installed", "pip install 'trio-uwsgi[alarms]'"
        ) from None
    return httpx


class _LogHandler(logging.Handler):
    """Raises the alarms of log lines; called by whatever thread logs."""

    def __init__(self, alarms: Alarms, token: trio.lowlevel.TrioToken) -> None:
        super().__init__()
        self._alarms = alarms
        self._token = token
        self._waiting: deque[tuple[str, str]] = deque()  # alarms on their way to Trio's thread

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line. What alarms log themselves is not looked at."""
        if _doing_alarm.get() or record.name == alarm_logger.name:
            return
        try:
            line = record.getMessage()
        except Exception:  # whoever logged it hears of it from the handler that shows it
            return
        for name in alarms_of(line, self._alarms.rules):
            if len(self._waiting) < QUEUE:
                self._waiting.append((name, line))
            else:
                self._alarms.drop()
        if self._waiting:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ring, idempotent=True)

    def _ring(self) -> None:
        while self._waiting:
            self._alarms.ring(*self._waiting.popleft())
