"""One version of the application's code, and the placement of its members in processes.

A generation has a zygote, the process that has imported the application and forks members. When the zygote dies it is
replaced, and its members keep running. What the application declared is the generation's registry
(`_runtime/declarations.py`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.certificates import renew_certificates
from trio_uwsgi._link.frames import BootFailed, Declared, Frame, Ready, SpoolerFrequency
from trio_uwsgi._link.link import Batch
from trio_uwsgi._process.import_line import attend_import
from trio_uwsgi._process.loader import import_took_too_long
from trio_uwsgi._process.member_start import MemberLink, SharedFrequency, Start
from trio_uwsgi._process.watchdog import Watchdog
from trio_uwsgi._process.zygote_control import (
    ForkRefused,
    Plan,
    RemoteTraceback,
    Zygote,
    ZygoteDied,
    open_zygote,
)
from trio_uwsgi._runtime.declarations import adopt, declared
from trio_uwsgi._runtime.placement import Died, Ending, MakeMember, Stopped
from trio_uwsgi._runtime.slow_start_log import log_slow_start
from trio_uwsgi._system.interpreter_exit import AFTER_A_FAILURE
from trio_uwsgi._system.pidfds import TASKS_NEED_NONE
from trio_uwsgi._units.journal import only_error
from trio_uwsgi.errors import BootError

if TYPE_CHECKING:
    from trio_uwsgi._process.child import Child
    from trio_uwsgi._process.member_plan import MemberPlan
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.registry import Registry

__all__ = ["Generation", "Generations", "open_generations"]

logger = logging.getLogger("trio_uwsgi")

# Consecutive failures to start of one slot's members after which the runtime gives up.
MOST_BOOT_FAILURES = 3
# Seconds in which the last frames of a process that has ended arrive.
FINAL_FRAMES_TIMEOUT = 1.0
# Seconds until a dead zygote is replaced.
ZYGOTE_RESTART_DELAY = 1.0
# Seconds from the end of its link to SIGKILL. A member's process bounds its own end (`_system/interpreter_exit.py`), so
# this is only for one that fails to do so.
END_TIMEOUT = AFTER_A_FAILURE + 2


class Generation:
    """One version of the code. `registry` has its declarations; `children` are the members' processes, by name."""

    def __init__(self, plan: MemberPlan, *, is_a_reload: bool = False) -> None:
        self._plan, self._is_a_reload = plan, is_a_reload
        self._zygote: Zygote
        self._restart_tried = trio.Event()  # set after each attempt to replace the zygote
        self._failures: dict[str, int] = {}
        self._shown: deque[str] = deque(maxlen=20)  # tracebacks in the log, until a member starts
        self._adopted = False
        self._watchdog = Watchdog(plan.settings.blocked_limits, plan.keeper.look)
        self._batch = Batch()
        self._instances_running = 0
        self._retired = False
        self._scope = trio.CancelScope()
        self.registry: Registry
        self.sent: Sequence[Frame] = ()  # by the import, to the master
        self.frequency: SharedFrequency
        self.children: dict[str, Child] = {}

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run a zygote until cancelled; then end all processes.

        Raises:
            BootError: the application cannot be imported.
        """
        with self._scope:
            await self._serve(task_status)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            imported = trio.Event()
            nursery.start_soon(log_slow_start, lambda: f"the import of {self._plan.launcher.app}", imported)
            self._zygote = zygote = await nursery.start(self._run_zygote)
            imported.set()
            self.registry = declared(zygote.imported.described)
            self.sent = zygote.sent
            if self._plan.launcher.watched:
                nursery.start_soon(self._watchdog.serve)
            task_status.started()
            while True:
                await zygote.died.wait()
                logger.error("the zygote died (%s); its members keep serving; starting another zygote", zygote.status)
                await trio.sleep(ZYGOTE_RESTART_DELAY)
                try:
                    self._zygote = zygote = await nursery.start(self._run_zygote)
                except BootError as error:
                    logger.error("cannot start another zygote; members that die will not be replaced: %s", error)
                self._restart_tried.set()
                self._restart_tried = trio.Event()

    async def _run_zygote(self, *, task_status: trio.TaskStatus[Zygote]) -> None:
        launcher = self._plan.launcher
        plan = Plan(
            app=launcher.app,
            main=f"{launcher.entry}:main",
            prepare=f"{launcher.entry}:prepare",
            setup={
                **_logging_setup(),
                **self._plan.prepare,
                "is_a_reload": self._is_a_reload,
                "import": self._plan.import_setup().to_json(),
            },
            describe=f"{launcher.entry}:describe_application",
            importing=f"{launcher.entry}:importing",
            attended=None if self._plan.lazy else self._attended,
            lazy=self._plan.lazy,
            start_timeout=self._plan.import_timeout or math.inf,
            start_zygote=launcher.start_zygote,
        )
        async with open_zygote(plan) as zygote:
            task_status.started(zygote)
            await zygote.ended.wait()  # which may be long after its death: its members keep running

    @contextlib.asynccontextmanager
    async def _attended(self) -> AsyncIterator[Sequence[int]]:
        """During the body, grant an import the locks that it asks for; gives the descriptors that it needs."""
        async with attend_import(self._plan.keeper) as line:
            yield [self._plan.scoreboard.descriptor, line.fileno()]

    async def _fork(self, master: Master, instance: MemberInstance, line: socket.socket | None) -> Child:
        """Fork a process for a member, from the current zygote or from its replacement. `line` is for its import."""
        slot = instance.slot
        # While the runtime stops, a worker may still start for queued signals, but not to accept connections.
        serves = slot.kind == "worker" and not master.is_stopping(slot)
        listeners = self._plan.listeners if serves else ()
        setup = self._plan.setup(instance, listeners).to_json()
        with contextlib.ExitStack() as copies:  # the listeners may be closed before they have been sent
            descriptors = [self._plan.scoreboard.descriptor, *([] if line is None else [line.fileno()])]
            for listener in listeners:
                descriptors.append(os.dup(listener.socket.fileno()))
                copies.callback(os.close, descriptors[-1])
            zygote_deaths = 0
            while True:
                zygote, tried = self._zygote, self._restart_tried
                try:
                    return await zygote.fork(slot.name, setup, descriptors)
                except ZygoteDied as error:
                    zygote_deaths += 1
                    if master.is_stopping(slot) or _waits_for_slot(instance):
                        raise
                    if zygote_deaths >= MOST_BOOT_FAILURES and not master.all_ready.is_set():
                        raise BootError(f"{slot.name} cannot start: {zygote_deaths} zygotes died: {error}") from None
                    logger.error("%s is waiting for another zygote: %s", slot.name, error)
                    await tried.wait()

    async def place(self, master: Master, instance: MemberInstance, make_member: MakeMember, window: int) -> Ending:
        """A placement: run the member as a process. `make_member` is called there, not here."""
        self._instances_running += 1
        try:
            return await self._run_in_process(master, instance, window)
        finally:
            self._instances_running -= 1
            self._end_if_over()

    def retire(self) -> None:
        """Start no more members, because another generation serves; end when the last running member has ended."""
        self._retired = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._retired and not self._instances_running:
            self._scope.cancel()

    async def _run_in_process(self, master: Master, instance: MemberInstance, window: int) -> Ending:
        if not self._plan.lazy:
            return await self._fork_and_run(master, instance, window, None)
        async with attend_import(self._plan.keeper) as line:
            return await self._fork_and_run(master, instance, window, line)

    async def _fork_and_run(
        self, master: Master, instance: MemberInstance, window: int, line: socket.socket | None
    ) -> Ending:
        try:
            child = await self._fork(master, instance, line)
        except ForkRefused as error:
            if master.all_ready.is_set():
                return Died(str(error))
            return self._cannot_start(instance, BootFailed(f"{error}; repair that, or {TASKS_NEED_NONE}", ""))
        except ZygoteDied as error:
            return Died(str(error))
        finally:
            if line is not None:
                line.close()
        async with child:
            self.children[instance.name] = child
            try:
                return await self._supervise(child, master, instance, window)
            finally:
                del self.children[instance.name]

    async def _supervise(self, child: Child, master: Master, instance: MemberInstance, window: int) -> Ending:
        start = Start()
        row = self._plan.scoreboard.rows[self._plan.rows[instance.name]]
        slot = instance.slot

        def handle(frame: Frame) -> None:
            if isinstance(frame, BootFailed):
                start.failed(frame)
            elif isinstance(frame, Declared):
                start.imported.set()
                self._adopt(frame.description)
            elif isinstance(frame, SpoolerFrequency):
                self.frequency.set(frame.seconds)
            else:
                if isinstance(frame, Ready):
                    watched.started = True
                    self._shown.clear()
                master.obey(instance, frame)

        link = MemberLink(child.ctl, handle, window, self._batch)
        link.row = row
        ended = trio.Event()

        async def run_link() -> None:
            await link.run()
            ended.set()
            if self._plan.launcher.watched and not link.stop_requested:  # a member that was asked to stop has the mercy
                await trio.sleep(END_TIMEOUT)
                child.kill()

        try:
            with self._watchdog.watching(child, slot.kind, row) as watched:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run_link)
                    if self._plan.lazy and self._plan.import_timeout:
                        nursery.start_soon(self._limit_import, child, start)
                    master.attach(instance, link)
                    if slot.kind == "spooler" and self.frequency.seconds:
                        link.send(SpoolerFrequency(self.frequency.seconds))
                    status = await child.wait()
                    with trio.move_on_after(FINAL_FRAMES_TIMEOUT):
                        await ended.wait()
                    nursery.cancel_scope.cancel()
        finally:
            master.detach(instance)
        row.clear()
        if watched.kill_reason:
            row.set("harakiri", row.get("harakiri") + 1)
            return Died(f"{watched.kill_reason}; {status}", at_once=True)
        if status.code == 0 and link.stop_requested:
            return Stopped()
        if start.failure is None and not (instance.ready or link.stop_requested or master.all_ready.is_set()):
            start.failed(BootFailed(f"{slot.name} ended before it was ready: {status}", ""))
        if start.failure is not None and not instance.ready:
            return self._cannot_start(instance, start.failure)
        self._failures.pop(slot.name, None)
        return Died("it ended by itself" if status.code == 0 else str(status))

    async def _limit_import(self, child: Child, start: Start) -> None:
        """Kill a member that takes too long to import the application, after it has printed its stack."""
        seconds = self._plan.import_timeout
        with trio.move_on_after(seconds):
            await start.imported.wait()
            return
        start.failed(BootFailed(import_took_too_long(str(self._plan.launcher.app), seconds), ""))
        await child.dump_stacks()  # which may itself end a process that has not set up its handlers yet
        child.kill()

    def _adopt(self, description: bytes) -> None:
        """With lazy applications: use the declarations of the first member that has imported the application."""
        if not self._adopted:
            self._adopted = True
            adopt(self.registry, description)

    def _cannot_start(self, instance: MemberInstance, failure: BootFailed) -> Ending:
        slot = instance.slot
        error = BootError(failure.reason)
        if failure.traceback:
            error.__cause__ = RemoteTraceback(failure.traceback)
        if not _waits_for_slot(instance):
            failures = self._failures[slot.name] = self._failures.get(slot.name, 0) + 1
            if failures >= MOST_BOOT_FAILURES:
                raise error
        shown = failure.traceback in self._shown
        if not shown:
            self._shown.append(failure.traceback)
        logger.error("%s cannot start: %s", slot.name, error, exc_info=None if shown else error.__cause__)
        return Died(f"it cannot start: {failure.reason}")


def _waits_for_slot(instance: MemberInstance) -> bool:
    """Whether this is a replacement whose predecessor still holds the slot, and keeps it if this one does not start."""
    return instance.replacement and not instance.holds_slot


def _logging_setup() -> dict[str, object]:
    """How members log: with the level of the root logger and the format of its first handler."""
    root = logging.getLogger()
    formatter = root.handlers[0].formatter if root.handlers else None
    form = getattr(formatter, "_fmt", None) or "%(levelname)s: %(message)s"
    return {"level": root.level or logging.INFO, "format": form}


class Generations:
    """The generation that serves, and its replacement in a reload. `frequency` is as in `Generation`."""

    def __init__(self, plan: MemberPlan, nursery: trio.Nursery) -> None:
        self._plan = plan
        self._nursery = nursery
        self._running: dict[Generation, None] = {}
        self.frequency = SharedFrequency()
        self.current: Generation

    def renew_certificates(self) -> None:
        """Read the listeners' certificates again, for members that start from now on."""
        renew_certificates(self._plan.listeners)

    async def make(self) -> Generation:
        """Make another generation, which imports the application again, beside the current one.

        Raises:
            BootError: it cannot be imported.
        Cancellation: nothing is left.
        """
        generation = Generation(self._plan, is_a_reload=hasattr(self, "current"))
        generation.frequency = self.frequency
        try:
            await self._nursery.start(self._serve, generation)
        except BaseExceptionGroup as group:
            error = only_error(group)
            if isinstance(error, BootError):
                raise error from error.__cause__
            raise
        return generation

    async def _serve(self, generation: Generation, *, task_status: trio.TaskStatus[None]) -> None:
        self._running[generation] = None
        try:
            await generation.serve(task_status=task_status)
        finally:
            del self._running[generation]

    async def dump_stacks(self) -> None:
        """Have the members of all generations print their tasks and stacks, one after the other."""
        for child in [child for generation in self._running for child in generation.children.values()]:
            await child.dump_stacks()

    def switch_to(self, generation: Generation) -> None:
        """Make this the current generation; the former one ends with its last member."""
        former, self.current = self.current, generation
        former.retire()

    async def place(self, master: Master, instance: MemberInstance, make_member: MakeMember, window: int) -> Ending:
        """A placement: in the current generation."""
        return await self.current.place(master, instance, make_member, window)


@contextlib.asynccontextmanager
async def open_generations(plan: MemberPlan) -> AsyncIterator[Generations]:
    """Run a generation, and its successors after reloads, while the body runs.

    Raises:
        BootError: the application cannot be imported.
    """
    async with trio.open_nursery() as nursery:
        generations = Generations(plan, nursery)
        generations.current = await generations.make()
        yield generations
        nursery.cancel_scope.cancel()
