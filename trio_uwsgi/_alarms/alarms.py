"""Alarms: run the configured action when an alarm is raised.

Raising never waits; tasks take alarms from a bounded queue and run up to `CONCURRENT` actions at once, each with a time
limit. Log lines of an action raise no alarms: the log handler checks a context variable. (In uWSGI a `log` alarm whose
line matches its own rule repeats for ever.)
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

# The most alarms that wait. More are dropped and counted; the log says so when there is room again.
QUEUE = 1000
# Alarms that run at once, and the time limit of each in seconds.
CONCURRENT = 8
TIME_LIMIT = 30.0
# The kind of the units of alarm functions. (`uwsgi.alarm` raises no alarms from such units.)
ALARM = "alarm"
# Bytes from the end of a failing command's output that are logged.
OUTPUT_TAIL = 2000

_doing_alarm: ContextVar[bool] = ContextVar("trio_uwsgi_alarming", default=False)


@dataclasses.dataclass(frozen=True, slots=True)
class AlarmStatistics:
    """The alarms of a runtime.

    Attributes:
        raised: alarms that were accepted.
        suppressed: alarms that repeated the last message within `Config.alarm_freq` seconds.
        dropped: alarms that were dropped because the queue was full or the runtime ended.
        failed: those of `raised` whose action failed.
    """

    raised: int
    suppressed: int
    dropped: int
    failed: int


class Router(Protocol):
    """The part of the master that alarms use."""

    def raise_signal(self, signum: int, origin: str) -> None: ...

    def post(self, message: bytes, mule: int, origin: str) -> None: ...


class Alarms:
    """The alarms of one runtime.

    Args:
        options: their actions, the interval for repetitions, and the rules for log lines.
        calls: runs actions that are functions.
        router: takes signals and messages.
    Raises:
        ConfigError: an action is a POST request, but httpx is not installed.
    """

    def __init__(self, options: AlarmOptions, calls: Calls, router: Router) -> None:
        self._options = options
        self.rules = options.rules
        self._calls = calls
        self._router = router
        self._repeat_filter = RepeatFilter(options.freq)
        self._raised = self._suppressed = self._dropped = self._failed = 0
        self._unlogged = 0  # dropped alarms that have not been logged yet
        self._send, self._receive = trio.open_memory_channel[tuple["Alarm", str]](QUEUE)
        if any(alarm.kind == "curl" for alarm in options.alarms.values()):
            _import_httpx()

    def statistics(self) -> AlarmStatistics:
        """The counters, as they are now."""
        return AlarmStatistics(self._raised, self._suppressed, self._dropped, self._failed)

    def ring(self, name: str, message: str) -> None:
        """Raise a configured alarm. Never waits."""
        if not self._repeat_filter.allows(name, message, trio.current_time()):
            self._suppressed += 1
            return
        try:
            self._send.send_nowait((self._options.alarms[name], message))
        except trio.WouldBlock:
            self.drop()
        except trio.ClosedResourceError:
            self._dropped += 1
            alarm_logger.warning(
                "alarm %s was dropped, because it was raised after the runtime's end: %s", name, message
            )
        else:
            self._raised += 1

    def drop(self) -> None:
        """Count an alarm that is dropped because the queue is full."""
        self._dropped += 1
        self._unlogged += 1

    def finish(self) -> None:
        """Let `serve` return when the alarms that have been raised are done."""
        self._send.close()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run actions until `finish`, and raise alarms from log lines. A cancellation cancels running actions."""
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
                logger.error("alarms that were dropped at the end of the runtime: %d", undone)

    async def _work(self) -> None:
        _doing_alarm.set(True)
        async for alarm, message in self._receive:
            if self._unlogged:
                unlogged, self._unlogged = self._unlogged, 0
                logger.error("the queue of %d alarms was full; alarms that were dropped: %d", QUEUE, unlogged)
            self._calls.member.journal.note(self._calls.member.name, f"alarm {alarm.name}")
            with trio.move_on_after(TIME_LIMIT) as scope:
                try:
                    await self._do(alarm, message)
                except* Exception as group:  # the next alarm must still run
                    self._fail(alarm, str(only_error(group)))
            if scope.cancelled_caught:
                self._fail(alarm, f"timed out after {TIME_LIMIT:g} s")

    def _fail(self, alarm: Alarm, problem: str) -> None:
        self._failed += 1
        logger.error("alarm %s failed: %s", alarm.name, problem)

    async def _do(self, alarm: Alarm, message: str) -> None:
        data = message.encode("utf-8", "replace")  # log lines may have surrogates, from file names that are not UTF-8
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
            # A process that the command left in the background may keep the pipe open for ever.
            listening.cancel_scope.cancel()
        async with process.stdout as output:
            with contextlib.suppress(BlockingIOError, trio.ClosedResourceError):
                said += os.read(output.fileno(), 65536)  # the capacity of a pipe
        if process.returncode:
            shown = said[-OUTPUT_TAIL:].decode("utf-8", "replace").strip()
            self._fail(alarm, f"{alarm.argument!r} exited with {process.returncode}: {shown}")

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
            "a curl: alarm needs httpx, which is not installed", "pip install 'trio-uwsgi[alarms]'"
        ) from None
    return httpx


class _LogHandler(logging.Handler):
    """Raises the alarms of log lines; called by the thread that logs."""

    def __init__(self, alarms: Alarms, token: trio.lowlevel.TrioToken) -> None:
        super().__init__()
        self._alarms = alarms
        self._token = token
        self._waiting: deque[tuple[str, str]] = deque()  # alarms that wait for Trio's thread

    def emit(self, record: logging.LogRecord) -> None:
        """Check one line. Lines that alarms log themselves are ignored."""
        if _doing_alarm.get() or record.name == alarm_logger.name:
            return
        try:
            line = record.getMessage()
        except Exception:  # a wrong logging call; the other handlers report it
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
