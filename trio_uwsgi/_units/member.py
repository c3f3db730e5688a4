"""The member that runs user code, and what members share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_uwsgi._caches.caches import Caches
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._link.link import Link
    from trio_uwsgi._locks.locks import Locks
    from trio_uwsgi._metrics.metrics import Metrics
    from trio_uwsgi._nodes.client import Nodes
    from trio_uwsgi._queues.queue import Queue
    from trio_uwsgi._runtime.registry import Registry
    from trio_uwsgi._runtime.worker_statistics import WorkerStatistics
    from trio_uwsgi._shared_areas.areas import SharedAreas
    from trio_uwsgi._signals.inbox import Inbox
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._signals.ticker import MemberTimers
    from trio_uwsgi._spool.directories import Spools
    from trio_uwsgi._units.heartbeat import Heartbeat
    from trio_uwsgi._units.journal import Journal
    from trio_uwsgi._units.thread_pool import ThreadPool

__all__ = ["Member", "Services", "Workers"]


class Workers:
    """The workers of a runtime, for the code that members run: what they do (`find`, which the member factory sets),
    and the listeners of this process.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners
        self.find: Callable[[], tuple[WorkerStatistics, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What members share and what outlives them: how many members there are; caches, the shared queue, metrics, locks,
    shared areas, connections to other nodes, directories of spoolers; the names of the alarms; the options under
    uWSGI's names; `mercy`, the graceful shutdown timeout in seconds.
    """

    headcount: Headcount
    caches: Caches
    queue: Queue
    metrics: Metrics
    locks: Locks
    areas: SharedAreas
    nodes: Nodes
    spools: Spools
    alarms: frozenset[str]
    options: Mapping[str, bytes | bool | list[bytes]]
    master_pid: int
    mercy: float
    reloads: bool  # can the application be reloaded?
    workers: Workers


class Member:
    """One worker, mule or spooler, as the code that it runs sees it. The member factory makes one per instance.

    `threads` runs the member's `def` handlers, `rpc_threads` its `def` RPC functions, which handlers may call; `link`
    connects it to the master. `killed` means that a test has killed it as by `kill -9`: it cleans up nothing.
    `heartbeat` is for the watchdog; None in members that are tasks. `importing` means that it does not run yet: its
    code is the import of the application.
    """

    __slots__ = (
        "heartbeat",
        "importing",
        "inbox",
        "journal",
        "killed",
        "kind",
        "link",
        "name",
        "number",
        "registry",
        "rpc_threads",
        "services",
        "threads",
        "timers",
        "wall_now",
    )

    def __init__(
        self, kind: str, number: int, registry: Registry, journal: Journal, wall_now: Callable[[], float]
    ) -> None:
        self.kind = kind
        self.number = number
        self.name = f"{kind}{number}" if number else kind
        self.registry = registry
        self.journal = journal
        self.wall_now = wall_now
        self.killed = False
        self.importing = False
        self.heartbeat: Heartbeat | None = None
        self.link: Link
        self.threads: ThreadPool
        self.rpc_threads: ThreadPool
        self.services: Services
        self.inbox: Inbox
        self.timers: MemberTimers
