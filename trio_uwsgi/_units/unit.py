"""The member that runs user code, and one unit of work while it runs.

Theory. A *unit* of work is one request, one run of a signal handler, one mule message, one job, one run of a mule's
program. It has one cancel scope, which implements its time limit (harakiri): the option deadline (`Config.harakiri`,
from the start of the unit) and the user deadline (`set_user_harakiri`, from the call) are both kept, and the scope's
deadline is the earlier one. A `ContextVar` has the current unit, so its child tasks and threads find it too.

Units are run by `calls.py`; for requests see `_http/exchange.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio

from trio_uwsgi.errors import NotServing

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

__all__ = ["UNIT", "Member", "Services", "Unit", "Workers"]


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


class Unit:
    """One unit of work while it runs, with its deadlines. The caller that makes the unit enters the scope and sets its
    deadline. `where` is the await at which the unit was cancelled.
    """

    __slots__ = (
        "_limits",
        "ends",
        "kind",
        "member",
        "name",
        "option_deadline",
        "scope",
        "started",
        "user_deadline",
        "where",
    )

    _limits: list[float]

    def __init__(self, member: Member, kind: str, name: str, scope: trio.CancelScope, limit: float) -> None:
        self.member = member
        self.kind = kind
        self.name = name
        self.scope = scope
        self.started = trio.current_time()
        self.option_deadline = self.started + limit if limit else math.inf
        self.user_deadline = math.inf
        self.ends: list[Callable[[], None]] | None = None  # `_ENDED` afterwards
        self.where = "?"

    @property
    def what(self) -> str:
        """The unit for logs, as in `signal 17`."""
        return f"{self.kind} {self.name}" if self.name else self.kind

    @property
    def ended(self) -> bool:
        """Has its code ended?"""
        return self.ends is _ENDED

    def at_end(self, release: Callable[[], None]) -> None:
        """Call `release` when this unit ends, also after a failure; the last one given is called first.

        It must not wait or raise.

        Raises:
            NotServing: the unit has ended; a task that outlived it makes this call.
        """
        if self.ends is None:
            self.ends = [release]
        elif self.ends is _ENDED:
            raise NotServing(
                "a function of the API",
                "call it before the request or handler returns",
                f"by a task that outlived its {self.what}",
            )
        else:
            self.ends.append(release)

    def end(self) -> None:
        """Its code has ended: release what it holds."""
        ends, self.ends = self.ends, _ENDED
        if ends:
            for release in reversed(ends):
                release()

    def set_user_deadline(self, deadline: float) -> None:
        """Set the user's own deadline; `inf` clears it. The option's deadline stays in force, as in uWSGI.

        Ignored after the end of the unit, because another unit may use the scope by then.
        """
        if self.ends is not _ENDED:
            self.user_deadline = deadline
            self.scope.deadline = min(self.option_deadline, deadline)

    def limit(self, deadline: float) -> None:
        """Replace the deadline that the unit's code set outside of blocks; `inf` removes it."""
        limits = self._own_limits()
        limits[0] = deadline
        self._set_own_deadline(min(limits))

    def enter_block(self, deadline: float) -> None:
        """A block with its own deadline begins."""
        limits = self._own_limits()
        limits.append(deadline)
        self._set_own_deadline(min(limits))

    def leave_block(self, deadline: float) -> None:
        """The block ends. If it is late, because it blocked the event loop, its deadline stays and cancels the unit."""
        if trio.current_time() <= deadline:
            limits = self._own_limits()
            del limits[limits.index(deadline, 1)]
            self._set_own_deadline(min(limits))

    def _set_own_deadline(self, deadline: float) -> None:
        self.set_user_deadline(deadline)
        if (heartbeat := self.member.heartbeat) is not None and self.ends is not _ENDED:
            heartbeat.set_deadline(self, deadline)

    def _own_limits(self) -> list[float]:
        """The deadline outside of blocks, then one for each block. Made on demand, because few units need it.

        Several tasks of one unit may be in blocks at once, so a block cannot simply restore the previous deadline.
        """
        try:
            return self._limits
        except AttributeError:
            self._limits = [math.inf]
            return self._limits


_ENDED: list[Callable[[], None]] = []

UNIT: ContextVar[Unit] = ContextVar("trio_uwsgi_unit")
