"""The tree of nurseries: services, timers, mules, workers.

Started from the top down and ended from the bottom up, so that what is below can always rely on what is above:

    services                       caches, locks, nodes, alarms      end last
    └─ timers                      the ticker
       └─ spoolers                 a supervisor each, and under it one life after the other, with its own nursery
          └─ mules                 likewise
             └─ lifespan           of an ASGI application
                └─ workers         likewise                          end first

A graceful stop closes one level after the other: members are told to stop, and the deadline on the nursery's scope is
the mercy. A cancellation of `Runtime.run` ends all levels at once.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._alarms.alarms import Alarms
from trio_uwsgi._apps.lifespan import Lifespan
from trio_uwsgi._link.link import direct_links
from trio_uwsgi._locks.remote import LockKeeper
from trio_uwsgi._runtime.dispatcher import Dispatcher
from trio_uwsgi._runtime.master import Master
from trio_uwsgi._runtime.member_factory import MemberFactory
from trio_uwsgi._runtime.overdue import noticing_overdue
from trio_uwsgi._runtime.recipients import as_farm, as_message, as_recipient
from trio_uwsgi._runtime.rolling_restart import NO_RELOAD, RollingRestart
from trio_uwsgi._runtime.scaling import MemberGroup
from trio_uwsgi._runtime.slow_start_log import log_slow_start, starting_members
from trio_uwsgi._runtime.spoolers import Spoolers
from trio_uwsgi._runtime.statistics import RuntimeStatistics
from trio_uwsgi._runtime.supervisor import RunInstance, Supervisor
from trio_uwsgi._runtime.worker import Application, rpc_threads
from trio_uwsgi._signals.schedule import Schedule
from trio_uwsgi._signals.ticker import Ticker
from trio_uwsgi._spool.request import JobVars, make_request, named_vars
from trio_uwsgi._units.stack_dumps import dump_here
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi.errors import NotServing

if TYPE_CHECKING:
    from pathlib import Path

    from trio_uwsgi._apps.asgi import AsgiApp
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.request import Peer
    from trio_uwsgi._runtime.placement import Placement
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.settings import Environment, Settings
    from trio_uwsgi._signals.targets import Kind
    from trio_uwsgi.config import Address

__all__ = ["Runtime"]

logger = logging.getLogger("trio_uwsgi")


class Runtime:
    """A running runtime. Got from `await nursery.start(trio_uwsgi.serve, app, config)`; never made by hand.

    `addresses`, of HTTP, and `uwsgi_addresses` are the real ones: where the config says port 0, here is the port that
    was taken.
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
        self._settings = settings
        self._environment = environment
        self._listeners = listeners = environment.listeners
        self.addresses = _addresses(listeners, "http")
        self.uwsgi_addresses = _addresses(listeners, "uwsgi")
        self._dispatcher = Dispatcher(settings.headcount, settings.signal_queue, settings.message_queue)
        self._master = Master(
            registry, self._dispatcher, Ticker(Schedule(settings.zone), environment.wall), environment.journal
        )
        self._member_factory = MemberFactory(application, registry, settings, environment)
        self._spoolers = Spoolers(self._master, self._member_factory.services.spools, settings.spooler.processes)
        self._rolling_restart: RollingRestart | None = None
        if (generations := environment.generations) is not None:
            self._rolling_restart = RollingRestart(
                self._master,
                generations,
                settings.headcount,
                lambda generation: self._living_by(generation.place),
                chain=settings.chain_reload,
            )
            generations.frequency.on_change = self._spoolers.send_frequency
        if (shared := environment.shared) is not None:
            self._master.locks = LockKeeper(shared.scoreboard, self._master.send)
        self._workers: MemberGroup
        self._stopping = trio.Event()
        self.ended, self.overdue = trio.Event(), trio.Event()  # the latter: its mercy is over, and it goes on

    def __repr__(self) -> str:
        where = ", ".join(str(address) for address in self.addresses) or "no address"
        return f"<Runtime on {where}: {self._dispatcher!r}>"

    # ----- for whoever started it

    @property
    def stopping(self) -> bool:
        """Was it told to stop?"""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Stop gracefully: accept no more, let requests, handlers and waiting signals end within the mercy time, then
        return from `serve`.

        May be called again. A cancellation of `serve` is the hard stop. Checkpoint: never.
        """
        self._stopping.set()

    async def wait_stopping(self) -> None:
        """Wait until it is told to stop. Checkpoint: always."""
        await self._stopping.wait()

    def on_reloading(self, call: Callable[[bool], None]) -> None:
        """Have `call(True)` called when a reload begins, and `call(False)` when it is over, well or not."""
        if self._rolling_restart is not None:
            self._rolling_restart.on_reloading = call

    def signal(self, signum: int) -> None:
        """Raise a uwsgi signal from outside of the members; see `trio_uwsgi.uwsgi.signal`.

        Raises:
            RegistrationError: `signum` is not 0 to 255.
            SignalQueueFull: a recipient's queue is full; nobody was given it.
        Checkpoint: never.
        """
        self._master.raise_signal(signum, "the embedder")

    def mule_msg(self, message: bytes | str, mule: int | str | bytes = 0) -> None:
        """Queue a message for a mule from outside of the members; see `trio_uwsgi.uwsgi.mule_msg`.

        Raises:
            TypeError, MuleError, MessageQueueFull: as there.
        Checkpoint: never.
        """
        self._master.post(as_message(message), as_recipient(mule), "the embedder")

    def farm_msg(self, name: str, message: bytes | str) -> None:
        """Queue a message for a farm from outside of the members; see `trio_uwsgi.uwsgi.farm_msg`.

        Raises:
            TypeError, MuleError, MessageQueueFull: as there.
        Checkpoint: never.
        """
        self._master.post(as_message(message), as_farm(name), "the embedder")

    async def spool(self, vars: JobVars | None = None, /, **more: object) -> bytes:
        """Queue a job from outside of the members; see `trio_uwsgi.uwsgi.spool`.

        Raises:
            TypeError, SpoolError, JobTooLarge, NoSpooler: as there.
        Checkpoint: always.
        Cancellation: nothing was queued.
        """
        request = make_request(named_vars(vars, more))
        return await self._member_factory.services.spools.get(request.spooler).submit(request)

    @property
    def caches_folder(self) -> Path | None:
        """Where processes of this runtime find its caches; None where they are not shared."""
        return self._member_factory.services.caches.folder

    def statistics(self) -> RuntimeStatistics:
        """How it is doing. Checkpoint: never."""
        return RuntimeStatistics(
            signals=self._master.statistics(),
            messages=self._master.message_statistics(),
            members=tuple(self._member_factory.statistics(slot) for slot in self._dispatcher.slots()),
            http=self._member_factory.http_statistics(self._dispatcher.slots("worker")),
            alarms=self._master.alarms.statistics(),
            spools=self._member_factory.spool_statistics(self._dispatcher.slots("spooler")),
        )

    def take(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Let the worker whose turn it is serve a connection over any Trio stream, which is closed at its end.

        Raises:
            LookupError: no worker is ready.
            NotServing: workers are processes.
        Checkpoint: never.
        """
        if self._environment.shared is not None:
            raise NotServing("Runtime.take()", "workers that are processes take clients from their listeners only")
        self._member_factory.workers[self.lend_worker()].take(stream, peer)

    def lend_worker(self) -> str:
        """The name of the worker whose turn it is. Raises LookupError if none is ready."""
        return self._dispatcher.lend("worker").name

    def add_worker(self) -> None:
        """Have one worker more, up to 16 more than were configured. It serves as soon as it is ready.

        Targets of signals go by the configured number: `workers` and `worker` reach it, `worker5` does not, unless
        there were five. While a reload goes on it is done afterwards. Where there can be no more the log says so. Of
        workers that are tasks, two run a WSGI application in two threads at once.
        Raises:
            NotServing: the runtime stops.
        Checkpoint: never.
        uWSGI: `+` of the master's fifo, up to the workers that `cheaper` keeps in reserve.
        """
        self._refuse_when_stopping("Runtime.add_worker()")
        self._workers.add()

    def remove_worker(self) -> None:
        """Let the worker with the highest number go, when it has ended what it runs, within the mercy. The last one
        stays, and the log says so.

        Its clients that are idle find the others, and its counts are no part of `statistics` any more. While a reload
        goes on it is done afterwards.
        Raises:
            NotServing: the runtime stops.
        Checkpoint: never.
        uWSGI: `-` of the master's fifo.
        """
        self._refuse_when_stopping("Runtime.remove_worker()")
        self._workers.remove()

    def _refuse_when_stopping(self, call: str) -> None:
        if self.stopping:
            raise NotServing(call, "the runtime stops")

    @property
    def paused(self) -> bool:
        """Do the workers accept no connections for now?"""
        return self._master.paused

    def pause(self) -> None:
        """Let no worker accept a connection until `resume`. Clients wait in the kernel's queue, as many as
        `Config.listen` has room for; those that are connected are served, and all else goes on.

        May be called again. Checkpoint: never.
        uWSGI: `p` of the master's fifo, SIGTSTP; workers do nothing at all there.
        """
        self._master.pause(True)

    def resume(self) -> None:
        """Accept connections again. May be called at any time.

        Checkpoint: never.
        """
        self._master.pause(False)

    def reload(self, *, chain: bool = False) -> None:
        """Import the application anew, and let members with the new code follow those that are there, without a gap.

        Nobody waits for it: what becomes of it is in the log. A version that cannot be imported, or whose members do
        not start, changes nothing. Called again meanwhile, it is done once more afterwards.

        Args:
            chain: one worker at a time, as with `Config.chain_reload`.

        Raises:
            NotServing: members are tasks of this process, which has the code once and for all.
        Checkpoint: never.
        """
        if self._rolling_restart is None:
            raise NotServing("Runtime.reload()", *NO_RELOAD)
        self._rolling_restart.reload(chain=chain)

    async def dump_stacks(self) -> None:
        """Print the Trio tasks of all processes, and the Python stacks of their threads, to standard error, one after
        the other.

        Checkpoint: always; it takes half a second for each process of a member.
        Cancellation: what was not printed is not.
        uWSGI: `py-tracebacker`.
        """
        dump_here()
        if self._environment.generations is not None:
            await self._environment.generations.dump_stacks()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the runtime, until `stop` or a cancellation. Reports itself started when every member serves.

        Raises:
            RegistrationError: the declarations do not fit the members.
            BootError: the application's lifespan startup failed.
        """
        if self._settings.spooler.cheap:
            self._spoolers.activate_when_there_is_work()
        self._registry.open(self._settings.headcount, self._master.ticker.add, self._master.ticker.cancel)
        try:
            async with self._serving_services(), trio.open_nursery() as timers:
                timers.start_soon(self._master.run)
                timers.start_soon(log_slow_start, partial(starting_members, self._dispatcher), self._master.all_ready)
                async with (
                    self._living("spooler"),
                    self._living("mule"),
                    self._lifespan(),
                    self._living("worker"),
                ):
                    await self._master.all_ready.wait()
                    task_status.started()
                    await self._until_told()
                timers.cancel_scope.cancel()
        finally:
            self._master.declared.registry.close()
            self.ended.set()

    async def _until_told(self) -> None:
        async with trio.open_nursery() as nursery:
            if self._rolling_restart is not None:
                nursery.start_soon(self._rolling_restart.run)
            await self._stopping.wait()
            nursery.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def _serving_services(self) -> AsyncIterator[None]:
        """What everything else relies on. The alarms have the mercy to do what was raised before the end."""
        member = self._member_factory.member(
            self._master.instance.slot
        )  # of the code that runs for no other: a lifespan, an alarm
        member.link, _ = direct_links(partial(self._master.obey, self._master.instance), member.inbox.obey)
        member.threads = ThreadPool(1, member.name)
        member.rpc_threads = rpc_threads(member)
        self._master.alarms = alarms = Alarms(
            self._settings.alarms, self._member_factory.calls[member.name], self._master
        )
        async with trio.open_nursery() as services:
            for service in (
                member.threads.serve,
                member.rpc_threads.serve,
                self._member_factory.services.caches.serve,
                self._member_factory.services.nodes.serve,
                self._member_factory.services.spools.serve,
            ):
                await services.start(service)
            async with trio.open_nursery() as nursery:
                await nursery.start(alarms.serve)
                yield
                nursery.cancel_scope.deadline = trio.current_time() + self._settings.mercy
                alarms.finish()
            services.cancel_scope.cancel()

    @contextlib.asynccontextmanager
    async def _living(self, kind: Kind) -> AsyncIterator[None]:
        """Members of a kind live during the body; then they have the mercy to end."""
        mercy = self._settings.mercy
        idle = self._settings.mule_idle if kind == "mule" else math.inf
        live = self._living_by(self._environment.placement)
        force = MemberGroup(
            kind,
            self._dispatcher,
            lambda slot: Supervisor(slot, self._master, live, idle, mercy),
            self._rolling_restart,
        )
        async with noticing_overdue(self.overdue) as mercy_begins, trio.open_nursery() as nursery:
            force.start(nursery)
            if kind == "worker":
                self._workers = force
            yield
            nursery.cancel_scope.deadline = trio.current_time() + mercy
            mercy_begins(math.inf if self._environment.shared else mercy)  # processes are ended in any case
            force.stop()
            if kind == "worker":
                await self._close_listeners()
        if nursery.cancel_scope.cancelled_caught and mercy:
            logger.warning("what the %ss still ran after the mercy of %g s was cancelled", kind, mercy)

    def _living_by(self, placement: Placement) -> RunInstance:
        """How a supervisor has a member live."""
        return lambda instance: placement(
            self._master, instance, self._member_factory.make_member, self._settings.signal_queue
        )

    async def _close_listeners(self) -> None:
        """As soon as no worker accepts: otherwise the kernel takes new clients, who wait for nobody and are reset."""
        for slot in self._workers.slots:
            await self._master.wait_closed(slot)
        for listener in self._listeners:
            listener.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        mode = self._settings.lifespan
        if self._application.interface == "wsgi" or mode == "off" or self._environment.shared is not None:
            yield  # each process of a worker has a lifespan of its own
            return
        app: AsgiApp = self._application.app  # type: ignore[assignment]  # detect_interface looked at it
        lifespan = Lifespan(app, mode, self._member_factory.calls[self._master.instance.slot.name])
        async with noticing_overdue(self.overdue) as mercy_begins, trio.open_nursery() as nursery:
            await nursery.start(lifespan.serve)
            self._application.state.update(lifespan.state)
            yield
            mercy_begins(self._settings.mercy)
            await lifespan.shutdown(self._settings.mercy)  # not after a cancellation: that is a hard stop


def _addresses(listeners: Sequence[Listener], protocol: str) -> tuple[Address, ...]:
    return tuple(listener.address for listener in listeners if listener.protocol == protocol)
