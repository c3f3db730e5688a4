"""Replaces members without downtime: single members that ask for it, and all of them in a reload.

Replacements are strictly sequential: there are never two reloads at once, nor two recycled members in replacement at
once. A reload that is requested during another one runs after it; several such requests are one. A member whose
replacement is due after a reload was replaced by the reload.

A reload has two halves. In the first one a new zygote imports the application anew, and a replacement starts beside
each member; if any of that fails, it is undone, and the running version stays. The second half is one step without a
checkpoint: the declarations of the new code are adopted, and every member drains in favour of its replacement.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import trio

from trio_uwsgi._runtime.import_phase import obey_import
from trio_uwsgi._runtime.slow_start_log import log_slow_start
from trio_uwsgi.errors import BootError, RegistrationError

if TYPE_CHECKING:
    from trio_uwsgi._process.generation import Generation, Generations
    from trio_uwsgi._runtime.master import Master
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.supervisor import RunInstance, Supervisor
    from trio_uwsgi._signals.targets import Headcount

__all__ = ["NO_RELOAD", "RollingRestart"]

logger = logging.getLogger("trio_uwsgi")

# Why there is no reload where members are tasks: the arguments `remedy` and `where` of `NotServing`.
NO_RELOAD = (
    "only members that are processes can load new code: Config(placement='process'), on the command line --processes N",
    "where members are tasks of one process",
)
# Seconds. A reload whose new members have not started for this long is cancelled when another reload is requested.
PATIENCE = 10.0


class RollingRestart:
    """Runs one replacement or reload at a time.

    Args:
        master: passes on the requests of members.
        generations: the versions of the application's code.
        headcount: the members of the runtime.
        run_instance_of: how a supervisor runs an instance with the code of a generation.
        chain: replace one worker at a time, for machines without room for all of them twice.
    """

    def __init__(
        self,
        master: Master,
        generations: Generations,
        headcount: Headcount,
        run_instance_of: Callable[[Generation], RunInstance],
        *,
        chain: bool,
    ) -> None:
        self._master = master
        self._generations = generations
        self._headcount = headcount
        self._run_instance_of = run_instance_of
        self._chain = chain
        self._supervisors: dict[str, Supervisor] = {}  # by name of the slot, in the order in which they were added
        self._to_replace: dict[MemberInstance, str] = {}  # instances that wait for their replacement, with the reason
        self._calls: deque[Callable[[], None]] = deque()
        self._reload: Literal["", "whole", "chain"] = ""
        self._asked = trio.Event()
        self._waiting = trio.CancelScope()  # for replacements to start
        self._since = math.inf  # when this wait began
        self.on_reloading: Callable[[bool], None] = lambda begun: None  # True: a reload begins; False: it is over
        self.on_reloaded: Callable[[], None] = lambda: None  # all members have the new code
        master.on_replace_me = self.replace
        master.on_reload = self.reload

    def add(self, supervisors: Sequence[Supervisor]) -> None:
        """Include these supervisors in reloads."""
        self._supervisors.update({supervisor.slot.name: supervisor for supervisor in supervisors})

    def remove(self, supervisor: Supervisor) -> None:
        """Forget this supervisor, whose slot is to end."""
        del self._supervisors[supervisor.slot.name]

    def call_between(self, call: Callable[[], None]) -> None:
        """Have `call` called when no reload and no replacement is in progress. Never waits."""
        self._calls.append(call)
        self._asked.set()

    def replace(self, instance: MemberInstance, reason: str) -> None:
        """Request the replacement of this instance. Never waits."""
        self._to_replace.setdefault(instance, reason)
        self._asked.set()

    def reload(self, *, chain: bool = False) -> None:
        """Request a reload, which begins at once or after the replacement or reload in progress; one worker at a time
        if `chain`, or if so configured. Never waits. One in progress is cancelled if its new members have not started
        for `PATIENCE` seconds: their code may hang at its start.
        """
        self._reload = "chain" if chain or self._chain else "whole"
        self._asked.set()
        if trio.current_time() - self._since > PATIENCE:
            self._waiting.cancel()

    async def run(self) -> None:
        """Do what was requested, one after the other, until cancelled."""
        while True:
            await self._asked.wait()
            if self._calls:
                self._calls.popleft()()
            elif self._reload:
                how, self._reload = self._reload, ""
                self.on_reloading(True)
                try:
                    await self._do_reload(chain=how == "chain")
                finally:
                    self.on_reloading(False)
            elif self._to_replace:
                instance = next(iter(self._to_replace))
                await self._do_replace(instance, self._to_replace.pop(instance))
            else:
                self._asked = trio.Event()

    async def _do_replace(self, instance: MemberInstance, reason: str) -> None:
        supervisor = self._supervisors.get(instance.slot.name)
        if supervisor is not None and supervisor.holder is instance and instance.ending is None:
            logger.info("replacing %s: %s", instance.slot.name, reason)
            with self._interruptible():
                if await supervisor.prepare(self._run_instance_of(self._generations.current)):
                    supervisor.drain()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The body waits for members to start. A later request for a reload may cancel it."""
        with trio.CancelScope() as self._waiting:
            self._since = trio.current_time()
            try:
                yield
            finally:
                self._since = math.inf
        if self._waiting.cancelled_caught:
            logger.error("gave up waiting for new members to start, because another reload was requested")

    # ----- reloads

    async def _do_reload(self, *, chain: bool) -> None:
        logger.info("reloading: importing the application anew")
        self._generations.renew_certificates()
        began = trio.current_time()
        workers = [supervisor for name, supervisor in self._supervisors.items() if name.startswith("worker")]
        others = [supervisor for name, supervisor in self._supervisors.items() if not name.startswith("worker")]
        first, later = (workers[:1], workers[1:] + others) if chain else (workers + others, [])
        generation: Generation | None = None
        with self._interruptible():
            generation = await self._start_generation(first)
        if generation is None:
            return
        self._generations.switch_to(generation)
        # A member that had died, and was restarted before the others were prepared, has the old code.
        missed = [supervisor for supervisor in first if not supervisor.drain()]
        for supervisor in missed + later:
            await self._replace_next(supervisor, generation)
        obey_import(self._master, generation.sent, self._generations.frequency.set)
        logger.info("reloaded in %.2f s", trio.current_time() - began)
        self.on_reloaded()

    async def _start_generation(self, first: Sequence[Supervisor]) -> Generation | None:
        """Import the new code, start a replacement for each of these, and adopt the new declarations; None if that
        failed.
        """
        try:
            generation = await self._generations.make()
        except BootError as error:
            logger.error("reload failed, the running version stays: %s", error, exc_info=error.__cause__)
            return None
        done = False
        try:
            if done := await self._start_replacements(first, generation):
                self._master.adopt(generation.registry, self._headcount)
        except RegistrationError as error:
            logger.error("reload failed, the running version stays: %s", error)
            done = False
        finally:
            if not done:
                self._abandon_replacements(first)
                generation.retire()
        return generation if done else None

    async def _start_replacements(self, supervisors: Sequence[Supervisor], generation: Generation) -> bool:
        """Start a replacement for each of them. False: one did not start."""
        prepared: list[bool] = []
        all_ready = trio.Event()

        async def prepare(supervisor: Supervisor) -> None:
            prepared.append(await supervisor.prepare(self._run_instance_of(generation)))
            if not prepared[-1]:
                nursery.cancel_scope.cancel()
            elif len(prepared) == len(supervisors):
                all_ready.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_slow_start, lambda: "the members with the new code to start", all_ready)
            for supervisor in supervisors:
                nursery.start_soon(prepare, supervisor)
        if all(prepared):
            return True
        logger.error("reload failed, the running version stays: a member with the new code did not start")
        return False

    def _abandon_replacements(self, supervisors: Sequence[Supervisor]) -> None:
        for supervisor in supervisors:
            supervisor.abandon_replacement()

    async def _replace_next(self, supervisor: Supervisor, generation: Generation) -> None:
        """Replace one member of a chain, after the former instance of the one before it has ended, so that there is
        room. If the replacement does not start, the member keeps the old code.
        """
        for other in self._supervisors.values():
            await other.wait_drained()
        if await supervisor.prepare(self._run_instance_of(generation)):
            supervisor.drain()
