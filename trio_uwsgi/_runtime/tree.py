"""The tree of nurseries in which a runtime runs: services, timers, spoolers, mules, workers.

A level starts before the levels below it and ends after them, so code can rely on what runs above it:

    services                       caches, queue, metrics, …         end last
    └─ timers                      the ticker, the file monitors
       └─ spoolers                 one supervisor for each slot; it runs the slot's instances, each in its own nursery
          └─ mules                 likewise
             └─ lifespan           of an ASGI application
                └─ workers         likewise                          end first

A graceful stop ends one level after the other, from the bottom: the members of a level are told to stop. All levels
together have the graceful shutdown timeout (mercy), which is the deadline of their nurseries; a level whose turn comes
late has a second all the same. A cancellation of `NurseryTree.run` ends all
levels at once. What an embedder holds and calls is the `Runtime` in `runtime.py`.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._alarms.alarms import Alarms
from trio_uwsgi._apps.lifespan import Lifespan
from trio_uwsgi._http.certificates import renew_certificates
from trio_uwsgi._link.frames import StopRequested
from trio_uwsgi._link.link import direct_links
from trio_uwsgi._runtime.dispatcher import Dispatcher
from trio_uwsgi._runtime.import_phase import obey_import
from trio_uwsgi._runtime.master import Master
from trio_uwsgi._runtime.member_factory import MemberFactory
from trio_uwsgi._runtime.member_threads import rpc_threads
from trio_uwsgi._runtime.rolling_restart import RollingRestart
from trio_uwsgi._runtime.runtime import Runtime
from trio_uwsgi._runtime.scaling import MemberGroup
from trio_uwsgi._runtime.slow_start_log import log_slow_start, starting_members
from trio_uwsgi._runtime.spoolers import Spoolers
from trio_uwsgi._runtime.stats_page import stats_json
from trio_uwsgi._runtime.stats_server import serve_stats
from trio_uwsgi._runtime.stuck_shutdown import noticing_overdue
from trio_uwsgi._runtime.supervisor import RunInstance, Supervisor
from trio_uwsgi._signals.schedule import Schedule
from trio_uwsgi._signals.ticker import Ticker
from trio_uwsgi._signals.timer import Every, Timer
from trio_uwsgi._units.thread_pool import ThreadPool

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi import AsgiApp
    from trio_uwsgi._runtime.placement import Placement
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.settings import Environment, Settings
    from trio_uwsgi._runtime.worker import Application
    from trio_uwsgi._signals.targets import Kind

__all__ = ["NurseryTree"]

# Seconds that a level has at least, unless the mercy is shorter: for what begins only now, such as a mule's clean-up.
LAST_TURN = 1.0

logger = logging.getLogger("trio_uwsgi")


class NurseryTree:
    """Runs one runtime. `serve` makes it; embedders get its `runtime`.

    `stopping` is set to ask for a graceful stop, `closing` when it begins, after the `drain_delay`. `ended` is set when
    `run` is over. `overdue` is set when a level still runs a little after its mercy is over.
    """

    def __init__(
        self,
        application: Application,
        registry: Registry,
        settings: Settings,
        environment: Environment,
    ) -> None:
        self._application = application
        self._registry = registry
        self.settings = settings
        self.environment = environment
        self.dispatcher = Dispatcher(settings.headcount, settings.signal_queue, settings.message_queue)
        self.master = Master(
            registry, self.dispatcher, Ticker(Schedule(settings.zone), environment.wall), environment.journal
        )
        self.member_factory = MemberFactory(application, registry, settings, environment)
        self._spoolers = Spoolers(self.master, self.member_factory.services.spools, settings.spooler.processes)
        self.rolling_restart: RollingRestart | None = None
        self._set_frequency = self.member_factory.services.spools.apply_frequency
        self._on_reloading: Callable[[bool], None] = lambda begun: None
        if (generations := environment.generations) is not None:
            self.rolling_restart = RollingRestart(
                self.master,
                generations,
                settings.headcount,
                lambda generation: self._run_instance_by(generation.place),
                chain=settings.chain_reload,
            )
            generations.frequency.on_change = self._spoolers.send_frequency
            self._set_frequency = generations.frequency.set
        if (shared := environment.shared) is not None and shared.keeper is not None:
            self.master.locks = shared.keeper
            shared.keeper.send = self.master.send
        self.workers: MemberGroup
        self.stopping, self.closing, self.ended, self.overdue = (trio.Event() for _ in range(4))
        self.master.on_stop = self.stopping.set
        self._stop_by = math.inf  # the end of the mercy
        # What runs beside the runtime, as `stats_page.py` shows it.
        self.daemons: Callable[[], list[dict[str, object]]] = list
        self.crons: Callable[[], list[dict[str, object]]] = list
        self.runtime = Runtime(self)

    def on_reloading(self, call: Callable[[bool], None]) -> None:
        """Have `call(True)` called when a reload begins, and `call(False)` when it is over, successful or not."""
        self._on_reloading = call
        if self.rolling_restart is not None:
            self.rolling_restart.on_reloading = call

    def on_reloaded(self, call: Callable[[], None]) -> None:
        """Have `call` called when all members have new code."""
        if self.rolling_restart is not None:
            self.rolling_restart.on_reloaded = call

    def renew_certificates(self) -> bool:
        """Read the listeners' certificates again. False: there are none."""
        if all(listener.tls is None for listener in self.environment.listeners):
            return False
        self._on_reloading(True)
        try:
            found = renew_certificates(self.environment.listeners)
        finally:
            self._on_reloading(False)
        if found:
            logger.info("only certificates are reloaded: members are tasks of one process, which imports the code once")
        return found

    def lend_worker(self) -> str:
        """The name of the worker that gets the next connection. Raises LookupError if no worker is ready."""
        return self.dispatcher.lend("worker").name

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `stopping` is set and everything has ended. Reports itself started when every member serves.

        Raises:
            RegistrationError: the declarations do not fit the members.
            BootError: the application's lifespan startup failed.
        """
        if self.settings.spooler.cheap:
            self._spoolers.activate_when_there_is_work()
        self._registry._open(self.settings.headcount, self.master.declared.arm, self.master.ticker.cancel)
        for timer in self.settings.timers:
            self.master.ticker.add(Timer(timer.signum, Every(timer.seconds)))
        try:
            async with self._serving_services(), trio.open_nursery() as timers:
                timers.start_soon(self.master.run)
                timers.start_soon(self.master.declared.monitors.run)
                if self.environment.stats:
                    take = partial(stats_json, self)
                    timers.start_soon(partial(serve_stats, self.environment.stats, take, http=self.settings.stats.http))
                timers.start_soon(log_slow_start, partial(starting_members, self.dispatcher), self.master.all_ready)
                async with (
                    self._members("spooler"),
                    self._members("mule"),
                    self._lifespan(),
                    self._members("worker"),
                ):
                    await self.master.all_ready.wait()
                    obey_import(self.master, self.environment.sent(), self._set_frequency)
                    task_status.started()
                    await self._until_stopping()
                timers.cancel_scope.cancel()
        finally:
            self.master.declared.registry._close()
            self.ended.set()

    async def _until_stopping(self) -> None:
        async with trio.open_nursery() as nursery:
            if self.rolling_restart is not None:
                nursery.start_soon(self.rolling_restart.run)
            await self.stopping.wait()
            nursery.cancel_scope.cancel()
        self.master.tell_all(StopRequested())
        self.member_factory.calls[self.master.instance.slot.name].member.inbox.obey(StopRequested())
        if delay := self.settings.drain_delay:
            logger.info("the stop begins in %g s; until then everything is served", delay)
            await trio.sleep(delay)
        self._stop_by = trio.current_time() + self.settings.mercy
        self.closing.set()

    def _time_left(self) -> float:
        """Seconds of the mercy that a level of the tree has, now that it is its turn to end."""
        return max(self._stop_by - trio.current_time(), min(LAST_TURN, self.settings.mercy))

    @contextlib.asynccontextmanager
    async def _serving_services(self) -> AsyncIterator[None]:
        """Run the services during the body. Alarms that were raised before its end have the rest of the mercy."""
        # The pseudo-member "master", for code that no worker, mule or spooler runs: a lifespan, an alarm.
        member = self.member_factory.member(self.master.instance.slot)
        member.link, _ = direct_links(partial(self.master.obey, self.master.instance), member.inbox.obey)
        member.threads = ThreadPool(1, member.name)
        member.rpc_threads = rpc_threads(member)
        self.master.alarms = alarms = Alarms(self.settings.alarms, self.member_factory.calls[member.name], self.master)
        async with trio.open_nursery() as services:
            for service in (
                member.threads.serve,
                member.rpc_threads.serve,
                self.member_factory.services.caches.serve,
                self.member_factory.services.queue.serve,
                self.member_factory.services.metrics.serve,
                self.member_factory.services.nodes.serve,
                self.member_factory.services.spools.serve,
            ):
                await services.start(service)
            async with trio.open_nursery() as nursery:
                await nursery.start(alarms.serve)
                yield
                nursery.cancel_scope.deadline = trio.current_time() + self._time_left()
                alarms.finish()
            services.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def _members(self, kind: Kind) -> AsyncIterator[None]:
        """Run the members of a kind during the body; then they have the rest of the mercy to end."""
        mercy = self.settings.mercy
        idle = self.settings.mule_idle if kind == "mule" else math.inf
        run_instance = self._run_instance_by(self.environment.placement)
        group = MemberGroup(
            kind,
            self.dispatcher,
            lambda slot: Supervisor(slot, self.master, run_instance, idle, mercy),
            self.rolling_restart,
        )
        async with noticing_overdue(self.overdue) as mercy_begins, trio.open_nursery() as nursery:
            group.start(nursery)
            if kind == "worker":
                self.workers = group
            yield
            left = self._time_left()
            nursery.cancel_scope.deadline = trio.current_time() + left
            mercy_begins(math.inf if self.environment.shared else left)  # processes are killed in any case
            group.stop(left)
            if kind == "worker":
                await self._close_listeners()
        if nursery.cancel_scope.cancelled_caught and mercy:
            logger.warning("the mercy of %g s is over: cancelled what the %ss still ran", mercy, kind)

    def _run_instance_by(self, placement: Placement) -> RunInstance:
        """How a supervisor runs an instance in this placement."""
        return lambda instance: placement(
            self.master, instance, self.member_factory.make_member, self.settings.signal_queue
        )

    async def _close_listeners(self) -> None:
        """Close the listeners as soon as no worker accepts: otherwise the kernel accepts clients whom no worker will
        serve, and resets their connections at the end.
        """
        for slot in self.workers.slots:
            await self.master.wait_closed(slot)
        for listener in self.environment.listeners:
            listener.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        mode = self.settings.lifespan
        if self._application.interface == "wsgi" or mode == "off" or self.environment.shared is not None:
            yield  # ASGI in processes: each worker process runs the lifespan itself
            return
        app: AsgiApp = self._application.app  # type: ignore[assignment]  # detect_interface looked at it
        lifespan = Lifespan(app, mode, self.member_factory.calls[self.master.instance.slot.name])
        async with noticing_overdue(self.overdue) as mercy_begins, trio.open_nursery() as nursery:
            await nursery.start(lifespan.serve)
            self._application.state.update(lifespan.state)
            yield
            mercy_begins(left := self._time_left())
            await lifespan.shutdown(left)  # skipped by a cancellation, which stops at once
