"""Who follows whom on purpose: members that have done enough, and all of them after a reload.

One thing at a time, so that there are never two reloads, nor two members on their way because of limits: a reload that
is asked for while another one goes on comes after it, several are one, and a member whose relief is due after a reload
has been followed by then.

A reload has two halves. In the first one the application is imported anew, and an heir starts beside each member; if
any of that fails, it is undone, and nothing has happened. The second one is one step in which nothing waits: what the
new code declared counts, and every member gives way to its heir.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import trio

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

# Why there is no reload where members are tasks, for `NotServing`: what to do, and where it was asked for.
NO_RELOAD = (
    "only members that are processes can have new code: Config(placement='process'), on the command line --processes N",
    "where members are tasks of one process",
)
# Seconds for which a reload that is asked for waits for one that goes on, in which the new code does not start.
PATIENCE = 10.0


class RollingRestart:
    """The order in which members are followed by others.

    Args:
        master: tells which members ask for it.
        generations: the code.
        headcount: the members there are.
        living: makes of a generation how a supervisor has a member of it live.
        chain: one worker at a time, for machines on which there is no room for all of them twice.
    """

    def __init__(
        self,
        master: Master,
        generations: Generations,
        headcount: Headcount,
        living: Callable[[Generation], RunInstance],
        *,
        chain: bool,
    ) -> None:
        self._master = master
        self._generations = generations
        self._headcount = headcount
        self._living = living
        self._chain = chain
        self._supervisors: dict[str, Supervisor] = {}  # by seat, in the order in which they came
        self._to_replace: dict[MemberInstance, str] = {}  # who asked to be followed, and why
        self._orders: deque[Callable[[], None]] = deque()
        self._reload: Literal["", "whole", "chain"] = ""
        self._asked = trio.Event()
        self._waiting = trio.CancelScope()  # for members that are to follow
        self._since = math.inf  # when that began
        self.on_reloading: Callable[[bool], None] = lambda begun: None  # called when one begins, and when it is over
        master.on_replace_me = self.replace
        master.on_reload = self.reload

    def add(self, supervisors: Sequence[Supervisor]) -> None:
        """Look after these, too."""
        self._supervisors.update({supervisor.slot.name: supervisor for supervisor in supervisors})

    def remove(self, supervisor: Supervisor) -> None:
        """Its seat is to end."""
        del self._supervisors[supervisor.slot.name]

    def between(self, order: Callable[[], None]) -> None:
        """Call this when no reload, and no relief, is on its way. Never waits."""
        self._orders.append(order)
        self._asked.set()

    def replace(self, instance: MemberInstance, reason: str) -> None:
        """Let somebody follow this member, when it is its turn. Never waits."""
        self._to_replace.setdefault(instance, reason)
        self._asked.set()

    def reload(self, *, chain: bool = False) -> None:
        """Reload, now or after what goes on; in a chain if that was configured, or is asked for. Never waits. What goes
        on is given up if it has waited for long, as the new code may not come out of its start.
        """
        self._reload = "chain" if chain or self._chain else "whole"
        self._asked.set()
        if trio.current_time() - self._since > PATIENCE:
            self._waiting.cancel()

    async def run(self) -> None:
        """Do what is asked for, one after the other, until cancelled."""
        while True:
            await self._asked.wait()
            if self._orders:
                self._orders.popleft()()
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
            logger.info("%s is followed by another one: %s", instance.slot.name, reason)
            with self._waits():
                if await supervisor.prepare(self._living(self._generations.current)):
                    supervisor.drain()

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        """The body waits for members to start. A reload that is asked for later may give it up."""
        with trio.CancelScope() as self._waiting:
            self._since = trio.current_time()
            try:
                yield
            finally:
                self._since = math.inf
        if self._waiting.cancelled_caught:
            logger.error("given up for another reload: what was to follow did not come out of its start")

    # ----- reloads

    async def _do_reload(self, *, chain: bool) -> None:
        logger.info("reloading: importing the application anew")
        began = trio.current_time()
        workers = [supervisor for name, supervisor in self._supervisors.items() if name.startswith("worker")]
        others = [supervisor for name, supervisor in self._supervisors.items() if not name.startswith("worker")]
        first, later = (workers[:1], workers[1:] + others) if chain else (workers + others, [])
        generation: Generation | None = None
        with self._waits():
            generation = await self._begin(first)
        if generation is None:
            return
        self._generations.switch_to(generation)
        # Who had died, and came again before the others were prepared, has the old code.
        missed = [supervisor for supervisor in first if not supervisor.drain()]
        for supervisor in missed + later:
            await self._one_more(supervisor, generation)
        logger.info("reloaded in %.2f s", trio.current_time() - began)

    async def _begin(self, first: Sequence[Supervisor]) -> Generation | None:
        """The new code, which is served from now on, with an heir for each of these; None if it is not to be."""
        try:
            generation = await self._generations.make()
        except BootError as error:
            logger.error("not reloaded, what was served is served on: %s", error, exc_info=error.__cause__)
            return None
        done = False
        try:
            if done := await self._prepare(first, generation):
                self._master.adopt(generation.registry, self._headcount)
        except RegistrationError as error:
            logger.error("not reloaded, what was served is served on: %s", error)
            done = False
        finally:
            if not done:
                self._abandon_replacements(first)
                generation.retire()
        return generation if done else None

    async def _prepare(self, supervisors: Sequence[Supervisor], generation: Generation) -> bool:
        """Start an heir for each of them. False: one did not start."""
        prepared: list[bool] = []
        all_there = trio.Event()

        async def prepare(supervisor: Supervisor) -> None:
            prepared.append(await supervisor.prepare(self._living(generation)))
            if not prepared[-1]:
                nursery.cancel_scope.cancel()
            elif len(prepared) == len(supervisors):
                all_there.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_slow_start, lambda: "the members with the new code to start", all_there)
            for supervisor in supervisors:
                nursery.start_soon(prepare, supervisor)
        if all(prepared):
            return True
        logger.error("not reloaded, what was served is served on: a member with the new code did not start")
        return False

    def _abandon_replacements(self, supervisors: Sequence[Supervisor]) -> None:
        for supervisor in supervisors:
            supervisor.abandon_replacement()

    async def _one_more(self, supervisor: Supervisor, generation: Generation) -> None:
        """In a chain: when the one before has left, so that there is room. One that fails keeps the old code."""
        for other in self._supervisors.values():
            await other.wait_left()
        if await supervisor.prepare(self._living(generation)):
            supervisor.drain()
