"""What a worker runs: its listeners and connections, and its signals, in tasks of its nursery."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import trio

from trio_uwsgi._apps.asgi import AsgiApp, AsgiDriver
from trio_uwsgi._apps.refusing import RefusingDriver
from trio_uwsgi._apps.root_path import rooted_asgi, rooted_wsgi
from trio_uwsgi._apps.static_driver import with_static_files
from trio_uwsgi._apps.wsgi_inline import InlineDriver
from trio_uwsgi._apps.wsgi_threads import WsgiDriver
from trio_uwsgi._http.connection import serve_stream
from trio_uwsgi._http.fair_reactor import serve_fairly
from trio_uwsgi._http.reactor import serve_sockets
from trio_uwsgi._http.service import HttpService
from trio_uwsgi._link.frames import Closed, Ready, StopRuntime
from trio_uwsgi._nodes.server import PacketDriver
from trio_uwsgi._runtime.hooks import hooked
from trio_uwsgi._runtime.member_threads import rpc_threads, serve_threads
from trio_uwsgi._runtime.scripts import Script
from trio_uwsgi._units.thread_pool import ThreadPool

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_exchange import WsgiApp
    from trio_uwsgi._http.accept_share import Share
    from trio_uwsgi._http.exchange import Exchange
    from trio_uwsgi._http.interfaces import Driver
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.options import HttpOptions
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.statistics import HttpStatistics
    from trio_uwsgi._units.calls import Calls
    from trio_uwsgi._units.member import Member
    from trio_uwsgi.config.options import AccessRules

__all__ = ["Application", "Worker", "WorkerSettings", "make_worker"]

logger = logging.getLogger("trio_uwsgi")


@dataclasses.dataclass(frozen=True, slots=True)
class Application:
    """The application to serve.

    `app` is an ASGI or a WSGI callable, as `interface` says. `threads` WSGI requests run at once in each worker; with 0
    one at a time runs on Trio's own thread. `multithread`: two requests may run at once in this process.
    `multiprocess`: other processes serve the application too. `state` is the lifespan state of an ASGI application.
    """

    app: object
    interface: Literal["asgi", "wsgi"]
    threads: int
    multithread: bool
    multiprocess: bool = False
    state: dict[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker: HTTP, which clients may send packets that are not requests, and the script that it runs
    before it stops the server.
    """

    http: HttpOptions
    access: AccessRules
    script: str | None = None


class Worker:
    """One worker: its HTTP service, and the nursery of the connections that were given to it by `take`.

    Args:
        member: its identity.
        calls: how it runs user code.
        service: its HTTP.
        threads: the pool in which a WSGI application runs; None for ASGI, and for WSGI without threads.
        listeners: the sockets it accepts from, shared with the other workers.

    `share` is set where the other workers are other processes, and `script` where it runs one.
    """

    def __init__(
        self,
        member: Member,
        calls: Calls,
        service: HttpService,
        threads: ThreadPool | None,
        listeners: Sequence[Listener],
    ) -> None:
        self._member = member
        self._calls = calls
        self._service = service
        self._threads = threads
        self._listeners = listeners
        self.share: Share | None = None
        self.script: Script | None = None
        self._nursery: trio.Nursery
        member.inbox.on_pause = service.pause

    @property
    def stuck(self) -> int:
        """How many threads still run a request that timed out."""
        return self._threads.stuck if self._threads is not None else 0

    @property
    def paused(self) -> bool:
        """Is accepting paused by the user?"""
        return self._service.paused_by_user

    @property
    def draining(self) -> bool:
        """Does it end, and accept no more connections?"""
        return self._service.draining

    def statistics(self) -> HttpStatistics:
        """Counts of its requests and connections."""
        return self._service.statistics()

    def effort(self) -> dict[str, int]:
        """What its responses were: bytes of their bodies, and the microseconds that they took."""
        return {"sent": self._service.sent, "micros": int(self._service.seconds * 1e6)}

    def exchanges(self) -> list[Exchange]:
        """The requests that run."""
        return list(self._service.harakiri.since)

    async def serve(self) -> None:
        """Serve until the master sends `Stop` or `Drain`; then accept no more connections, let requests and waiting
        signals end, and return.

        A cancellation closes the connections and cancels what runs.
        """
        member = self._member
        async with trio.open_nursery() as services:
            await serve_threads(services, member)
            if self._threads is not None:
                await services.start(self._threads.serve, name=f"threads {self._threads.name}")
            await services.start(self._service.serve)
            async with hooked(self._calls), trio.open_nursery() as self._nursery:
                self._nursery.start_soon(member.inbox.serve_signals)
                if self._listeners:
                    serve = serve_sockets if self.share is None else partial(serve_fairly, self.share)
                    await self._nursery.start(serve, self._service, self._listeners)
                member.link.send(Ready())
                if self.script is not None:
                    self._nursery.start_soon(self._run_script, self.script)
                await member.inbox.stopping.wait()
                self._service.drain(others_serve=member.inbox.patient)
                member.link.send(Closed())
                await self._service.wait_drained()
                member.inbox.finish()
            services.cancel_scope.cancel()

    async def _run_script(self, script: Script) -> None:
        """Run it, once the worker that this one replaces has begun to end, and stop the server; unless this worker ends
        meanwhile: then its replacement runs the script again, or the server stops anyway.
        """
        await self._member.inbox.holds_slot.wait()
        await self._calls.run("script", script.name, script, limit=0)
        if self._member.inbox.stops:
            return
        logger.info("%s: the script %s has ended; the server stops", self._member.name, script.name)
        self._member.link.send(StopRuntime())

    def take(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Serve a connection that did not come from a listener. The stream is closed at its end."""
        self._nursery.start_soon(serve_stream, self._service, stream, peer)


def make_worker(
    member: Member, calls: Calls, application: Application, settings: WorkerSettings, listeners: Sequence[Listener]
) -> Worker:
    """A worker for an application, with the drivers and the threads it needs."""
    # For `def` signal handlers: one at a time, and neither behind requests nor behind a script.
    member.threads = ThreadPool(1 if settings.script is None else 2, member.name)
    member.rpc_threads = rpc_threads(member)
    packets = PacketDriver(settings.access, calls)
    threads: ThreadPool | None = None
    if application.interface == "wsgi" and application.threads:
        threads = ThreadPool(application.threads, f"{member.name} request")
    service = _service(_driver(application, settings.http, threads), packets, calls, settings.http)
    worker = Worker(member, calls, service, threads, listeners)
    if settings.script is not None:
        worker.script = Script(settings.script)
    return worker


def _driver(application: Application, options: HttpOptions, threads: ThreadPool | None) -> Driver:
    """The one that calls the application; `threads` are for WSGI."""
    prefix, kept = options.root_path, options.manage_script_name
    if application.interface == "asgi":
        app: AsgiApp = application.app  # type: ignore[assignment]  # detect_interface looked at it
        return AsgiDriver(rooted_asgi(app, prefix, kept), application.state)
    wsgi: WsgiApp = application.app  # type: ignore[assignment]  # likewise
    wsgi = rooted_wsgi(wsgi, prefix, kept)
    if threads is None:
        return InlineDriver(wsgi, multiprocess=application.multiprocess)
    return WsgiDriver(wsgi, threads, multithread=application.multithread, multiprocess=application.multiprocess)


def _service(driver: Driver, packets: Driver, calls: Calls, options: HttpOptions) -> HttpService:
    service = HttpService(with_static_files(driver, options.static), packets, calls, options)
    if options.load.requests:
        service.refusing = RefusingDriver()
    return service
