"""`serve`: runs an application as a `Config` says.

This is the only module that knows the whole `Config`; it passes each part to the package that needs it. `serve` is for
applications; `trio_uwsgi.testing` calls `_serve_in`, with another environment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

import trio

from trio_uwsgi import _member_entry, uwsgi
from trio_uwsgi._apps.interface import interface_of
from trio_uwsgi._http.certificates import ServerTls
from trio_uwsgi._http.listeners import Listener, open_listeners
from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._locks.locks import UserLocks
from trio_uwsgi._locks.remote import open_keeper
from trio_uwsgi._process.app_name import AppReference, reference_of, refuse_to_serve_twice
from trio_uwsgi._process.generation import open_generations
from trio_uwsgi._process.launcher import Launcher
from trio_uwsgi._process.member_plan import MemberPlan
from trio_uwsgi._process.patched_modules import undo_import_changes
from trio_uwsgi._program.app_import import IMPORTED, in_time, load_where_signals_are_obeyed
from trio_uwsgi._program.hooks import Hooks
from trio_uwsgi._program.process_setup import FinishSetup, finish_with_hooks, refuse_process_options, set_up_process
from trio_uwsgi._program.program import plain_start_errors, run_standalone
from trio_uwsgi._program.systemd import take_sockets, warn_of_unused
from trio_uwsgi._runtime.configured import environment_of, settings_of
from trio_uwsgi._runtime.dispatcher import Dispatcher
from trio_uwsgi._runtime.import_phase import ImportPhase
from trio_uwsgi._runtime.member_instance import second_name
from trio_uwsgi._runtime.scaling import MOST_ADDED
from trio_uwsgi._runtime.settings import Environment, Settings, Shared
from trio_uwsgi._runtime.stores import Stores
from trio_uwsgi._runtime.tree import NurseryTree
from trio_uwsgi._runtime.worker import Application
from trio_uwsgi._shared_areas.rules import memory_size
from trio_uwsgi._spool.files import SpoolFolder
from trio_uwsgi._system.build import how_built
from trio_uwsgi._system.forks import install_fork_hooks
from trio_uwsgi._system.pidfds import require_processes
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.compat.importing import entered_with
from trio_uwsgi.config import Config
from trio_uwsgi.config.hooks import Hook
from trio_uwsgi.config.sources import can_match
from trio_uwsgi.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.runtime import Runtime
    from trio_uwsgi.config.addresses import Address

__all__ = ["serve"]

logger = logging.getLogger("trio_uwsgi")


async def serve(
    app: object,
    config: Config = Config(),  # noqa: B008  # frozen
    *,
    registry: Registry | None = None,
    task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an application, with its signals, timers, mules and spoolers, until it is stopped.

    As the main program, `trio.run(trio_uwsgi.serve, app)` serves HTTP on 127.0.0.1:8000. The first SIGINT or SIGTERM
    stops gracefully, the second one immediately, and a third one ends the process even if a handler blocks Trio's
    thread. SIGHUP reloads, as `Runtime.reload`. If `config` has no addresses, `serve` listens on the sockets that
    systemd passes; it reports its state to systemd.

    Embedded in another Trio program, `runtime = await nursery.start(trio_uwsgi.serve, app, config)` returns when every
    member serves. POSIX signals, logging and the process belong to that program; `runtime.stop()` stops gracefully.

    Args:
        app: an ASGI 3 or a WSGI callable; `Config.interface` says which, and is detected by default.
        config: the options.
        registry: the application's declarations; without it the default registry, `uwsgi.registry`.
        task_status: `nursery.start` passes it, and returns the `Runtime`.
    Raises:
        ConfigError: `app` is neither clearly WSGI nor clearly ASGI; or an embedded server was given an option that
            changes the process, such as `Config.uid` or `Config.pidfile`.
        RegistrationError: a declaration does not fit the members, or another runtime serves this registry.
        BootError: an address cannot be listened on, or the application's lifespan startup failed.
        SystemExit: SIGQUIT, or a second SIGINT or SIGTERM was received; the code is 128 plus the signal's number.
    Resource handling: everything that `serve` opens (sockets, their files, tasks) is closed when it returns or raises.
        A thread whose code does not end is abandoned; the statistics count it and the log names it.
    Error handling: an exception in the application is logged and ends only its own request or handler. Errors at the
        start are raised as they are. Any later error is a bug in this package and is raised in Trio's exception groups.
    Checkpoint: always.
    Cancellation: an immediate stop. Connections are closed, handlers are cancelled, and signals that wait are dropped;
        the log has their number.
    Example:
        trio.run(trio_uwsgi.serve, app, trio_uwsgi.Config(http="127.0.0.1:8000", mules=1, harakiri=30))
    """
    refuse_to_serve_twice(app)
    undo_import_changes()
    install_fork_hooks()
    environment = environment_of(config)
    if task_status is trio.TASK_STATUS_IGNORED:
        set_up_process(config.process_options)
        config = _with_passed_sockets(config)
        hooks = Hooks([Hook.parse(text) for text in config.hooks])
        finish_setup = partial(finish_with_hooks, config.process_options, hooks)
        run = partial(_serve_in, environment, app, config, registry or uwsgi.registry, finish_setup=finish_setup)
        await run_standalone(run, config, _folders(app) if config.reload else [], hooks)
    else:
        await _serve_in(environment, app, config, registry or uwsgi.registry, task_status=_StatusOfRuntime(task_status))


def _folders(app: object) -> list[str]:
    """The folders of the application's code, for the file watcher."""
    own = (app if isinstance(app, AppReference) else reference_of(app)).folder
    here = os.getcwd()
    return [here] if own is None or os.path.commonpath([own, here]) == here else [here, own]


def _with_passed_sockets(config: Config) -> Config:
    """The configuration, with the sockets that systemd passes if it has no addresses."""
    http, packets = take_sockets(os.environ)
    if (http or packets) and config.http is None and not (config.socket or config.https):
        return dataclasses.replace(config, http=http, socket=packets)
    secure = [tls.where for tls in config.tls]
    warn_of_unused([*http, *packets], [*config.addresses, *secure, *config.uwsgi_addresses])
    return config


class _StatusOfRuntime:
    """Passes on to an embedder only the `Runtime` of the tree that serves."""

    def __init__(self, task_status: trio.TaskStatus[Runtime]) -> None:
        self._task_status = task_status

    def started(self, value: NurseryTree | None = None) -> None:
        assert value is not None
        self._task_status.started(value.runtime)


async def _serve_in(
    environment: Environment,
    app: object,
    config: Config,
    registry: Registry,
    *,
    finish_setup: FinishSetup | None = None,
    task_status: trio.TaskStatus[NurseryTree] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`serve` in a given environment, without handling posix signals. Without `finish_setup` the process belongs to an
    embedder.
    """
    if finish_setup is None:
        refuse_process_options(config.process_options)
    with plain_start_errors():
        if config.placement == "process":
            await _serve_in_processes(environment, app, config, registry, finish_setup, task_status)
        else:
            await _serve_in_tasks(environment, app, config, registry, finish_setup, task_status)


async def _serve_in_tasks(
    environment: Environment,
    app: object,
    config: Config,
    registry: Registry,
    finish_setup: FinishSetup | None,
    task_status: trio.TaskStatus[NurseryTree],
) -> None:
    imported = IMPORTED.get(None)
    async with _listening(config, finish_setup) as (listeners, stats):
        settings = settings_of(config)
        stores = Stores(settings, environment.wall.now, None)
        standing = dataclasses.replace(environment, listeners=listeners, stats=stats, stores=stores)
        if imported is not None:
            stores.take_over(imported.stores)
            standing = dataclasses.replace(standing, sent=lambda: imported.sent)
        with entered_with(_facts(config)), stores:
            await _serve_tree_of_tasks(standing, app, config, settings, registry, task_status)


async def _serve_tree_of_tasks(
    environment: Environment,
    app: object,
    config: Config,
    settings: Settings,
    registry: Registry,
    task_status: trio.TaskStatus[NurseryTree],
) -> None:
    if isinstance(app, AppReference):
        phase = ImportPhase(registry, settings, environment)
        with phase, in_time(str(app), config.import_timeout):
            app = await load_where_signals_are_obeyed(app)
        environment = dataclasses.replace(environment, sent=lambda: phase.sent)
    interface = interface_of(app, config.interface, config.lifespan)
    threads = config.threads or 1
    application = Application(app, interface, threads, multithread=threads * config.workers > 1)
    tree = NurseryTree(application, registry, settings, environment)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        _announce(app, interface, config, tree.runtime)
        task_status.started(tree)


@contextlib.asynccontextmanager
async def _listening(
    config: Config, finish_setup: FinishSetup | None
) -> AsyncIterator[tuple[list[Listener], list[Listener]]]:
    """Open the sockets, those of the workers and those of the stats server, and read the certificates, which may need
    root, and then finish the setup of the process: its user, its folder.
    """
    async with contextlib.AsyncExitStack() as stack:
        enter, options = stack.enter_async_context, config.socket_options
        listeners = await enter(open_listeners(config.addresses, options))
        for tls in config.tls:
            listeners += await enter(open_listeners([tls.where], options, tls=ServerTls.of(tls)))
        listeners += await enter(open_listeners(config.uwsgi_addresses, options, "uwsgi"))
        stats = await enter(open_listeners(config.stats_addresses, options))
        async with contextlib.nullcontext() if finish_setup is None else finish_setup([*listeners, *stats]):
            yield listeners, stats


async def _serve_in_processes(
    environment: Environment,
    app: object,
    config: Config,
    registry: Registry,
    finish_setup: FinishSetup | None,
    task_status: trio.TaskStatus[NurseryTree],
) -> None:
    """As `_serve_in_tasks`, with one process per member, where the application is imported."""
    require_processes()
    launcher = environment.launcher or _launcher(app, registry)
    settings = settings_of(config)
    dispatcher = Dispatcher(settings.headcount, settings.signal_queue, settings.message_queue)
    slots = [slot.name for slot in dispatcher.slots()]
    slots += [f"worker{config.workers + number}" for number in range(1, MOST_ADDED + 1)]
    names = [name for slot in slots for name in (slot, second_name(slot))]
    rows = {name: row for row, name in enumerate(names)}
    areas = [memory_size(size) for size in settings.areas]
    scoreboard = Scoreboard.make(len(rows), config.locks + 1, areas)
    with contextlib.closing(scoreboard), open_keeper(scoreboard, rows) as keeper:
        async with _listening(config, finish_setup) as (listeners, stats):
            shared = Shared(
                scoreboard=scoreboard,
                rows=rows,
                caches=True,
                locks=UserLocks(config.locks),
                master_pid=os.getpid(),
                keeper=keeper,
            )
            stores = Stores(settings, environment.wall.now, shared)
            with stores if launcher.imports else contextlib.nullcontext():
                for directory in settings.spooler.directories:
                    SpoolFolder(directory, environment.wall.now).prepare()
                standing = dataclasses.replace(
                    environment, listeners=listeners, stats=stats, shared=shared, stores=stores
                )
                plan = MemberPlan(
                    launcher=launcher,
                    interface=config.interface,
                    threads=config.threads or 0,  # without threads
                    lazy=config.lazy_apps,
                    settings=settings.for_members(),
                    listeners=listeners,
                    scoreboard=scoreboard,
                    rows=rows,
                    caches=lambda: stores.caches.folder,
                    keeper=keeper,
                    import_timeout=config.import_timeout,
                    prepare=_member_entry.setup_of(_facts(config)),
                )
                await _serve_generations(standing, plan, settings, config, task_status)


async def _serve_generations(
    environment: Environment,
    plan: MemberPlan,
    settings: Settings,
    config: Config,
    task_status: trio.TaskStatus[NurseryTree],
) -> None:
    async with open_generations(plan) as generations:
        standing = dataclasses.replace(
            environment,
            placement=generations.place,
            generations=generations,
            sent=lambda: generations.current.sent,
        )
        no_app = Application(None, "wsgi", 1, multithread=False)  # the master runs none
        tree = NurseryTree(no_app, generations.current.registry, settings, standing)
        async with trio.open_nursery() as nursery:
            await nursery.start(tree.run)
            _announce(plan.launcher.app, config.interface, config, tree.runtime)
            task_status.started(tree)


def _facts(config: Config) -> Facts | None:
    """What the module `uwsgi` says of this runtime; None without the module."""
    return Facts.of(config, os.getpid(), time.time()) if config.compat else None


def _launcher(app: object, registry: Registry) -> Launcher:
    """The launcher of a zygote that imports the application by its name."""
    if registry is not uwsgi.registry:
        raise ConfigError(
            "placement='process' contradicts registry=: members get their declarations by importing the application",
            "declare with trio_uwsgi.uwsgi, or use placement='task'",
        )
    return Launcher(app=app if isinstance(app, AppReference) else reference_of(app), entry=_member_entry.__name__)


def _announce(app: object, interface: str, config: Config, runtime: Runtime) -> None:
    name = str(app) if isinstance(app, AppReference) else getattr(app, "__qualname__", type(app).__qualname__)
    logger.info(
        "trio_uwsgi %s (%s, trio %s, Python %s) serves the %sapplication %s",
        metadata.version("trio-uwsgi"),
        how_built(),
        metadata.version("trio"),
        platform.python_version(),
        "" if interface == "auto" else f"{interface.upper()} ",
        name,
    )
    for protocol, bound, asked in (
        ("http", runtime.addresses, config.addresses),
        ("https", runtime.https_addresses, [tls.where for tls in config.tls]),
        ("uwsgi", runtime.uwsgi_addresses, config.uwsgi_addresses),
        ("statistics", runtime.stats_addresses, config.stats_addresses),
    ):
        for address in bound:
            logger.info("%s on %s%s", protocol, address, _lacks_ipv4(address, bound, asked))
    _warn_of_strangers(config.forwarded_allow, runtime.addresses + runtime.https_addresses)
    workers = f"{config.workers} worker{'s' * (config.workers != 1)}"
    pool = config.mule_pool
    mules = f"{'' if pool.min == pool.max else f'{pool.min} to '}{pool.max} mule{'s' * (pool.max != 1)}"
    spoolers = config.spooler_options.count
    spooling = f" and {spoolers} spooler{'s' * (spoolers != 1)}" if spoolers else ""
    where = "processes" if config.placement == "process" else "tasks"
    logger.info("%s, %s%s, in %s of process %d", workers, mules, spooling, where, os.getpid())


def _warn_of_strangers(sources: Iterable[str], listeners: Sequence[Address]) -> None:
    """Log it if proxies are believed that cannot connect, as with the address of one and a unix socket."""
    if sources and listeners and not any(can_match(source, listener) for source in sources for listener in listeners):
        logger.warning(
            "no connection to %s can come from forwarded_allow=%s, so the headers of proxies are ignored; a proxy that "
            "connects to a unix socket is the source unix, one that connects over TCP is loopback or its address",
            ", ".join(map(str, listeners)),
            ",".join(sources),
        )


def _lacks_ipv4(address: Address, bound: Sequence[Address], asked: Sequence[Address]) -> str:
    """A remark for the log if a TCP address looks like all interfaces and is IPv6 only."""
    all_v4 = dataclasses.replace(address, host="0.0.0.0")
    if address.host != "::" or all_v4 in bound or not any(other.kind == "tcp" for other in asked):
        return ""
    return f" (IPv6 only; write :{address.port} for both)"
