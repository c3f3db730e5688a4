"""The settings of a runtime and its environment, as values that are passed down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import tzinfo

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.options import HttpOptions
    from trio_uwsgi._link.frames import Frame
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._locks.locks import Locks
    from trio_uwsgi._locks.remote import LockKeeper
    from trio_uwsgi._process.generation import Generations
    from trio_uwsgi._process.launcher import Launcher
    from trio_uwsgi._runtime.placement import Placement
    from trio_uwsgi._runtime.stores import Stores
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._signals.ticker import WallClock
    from trio_uwsgi._units.journal import Journal
    from trio_uwsgi.config.clock import SignalTimer
    from trio_uwsgi.config.metrics import Metric
    from trio_uwsgi.config.options import AccessRules, AlarmOptions, Cache, RecyclingLimits, SpoolerOptions
    from trio_uwsgi.config.queues import QueueOptions

__all__ = ["Environment", "Settings", "Shared", "StatsOptions"]


@dataclasses.dataclass(frozen=True, slots=True)
class StatsOptions:
    """What the stats server needs: whether it sends the head of an HTTP response, and the cores of a worker that it
    shows at least.
    """

    http: bool
    cores: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the runtime uses of a `Config`: counts, lengths of queues, times in seconds (harakiri 0: no time limit),
    and the sizes of shared areas.

    `script` is what worker 1 runs; `options` are for `uwsgi.opt`.
    """

    headcount: Headcount
    mule_idle: float
    signal_queue: int
    message_queue: int
    harakiri: float
    mule_harakiri: float
    mercy: float
    drain_delay: float
    lifespan: Literal["auto", "on", "off"]
    http: HttpOptions
    zone: tzinfo | None
    timers: Sequence[SignalTimer]
    caches: Sequence[Cache]
    queue: QueueOptions
    metrics: Sequence[Metric]
    locks: int
    areas: Sequence[int]
    alarms: AlarmOptions
    access: AccessRules
    node_timeout: float
    spooler: SpoolerOptions
    stats: StatsOptions
    chain_reload: bool
    script: str | None
    recycling: RecyclingLimits
    options: Mapping[str, bytes | bool | list[bytes]]

    @property
    def blocked_limits(self) -> Mapping[str, float]:
        """How many seconds the event loop of a process may be blocked, by kind of member."""
        return {"worker": self.harakiri, "mule": self.mule_harakiri, "spooler": self.spooler.harakiri}

    def for_members(self) -> Settings:
        """The settings for members in their own processes; they can be pickled."""
        return dataclasses.replace(self, alarms=self.alarms.names_only(), options=dict(self.options))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What surrounds a runtime, and tests replace: the journal, the time of day, the placement of members, their
    listeners, those of the stats server (`stats`); `generations` imports the members' code anew, where that is
    possible; `launcher` starts their processes, if not by the application's name; `chance` gives numbers from 0 to
    below 1. `stores` are those that were opened before the application was imported, and `sent` is what its import has
    sent to the master.
    """

    journal: Journal
    wall: WallClock
    placement: Placement
    chance: Callable[[], float]
    listeners: Sequence[Listener] = ()
    stats: Sequence[Listener] = ()
    shared: Shared | None = None
    generations: Generations | None = None
    launcher: Launcher | None = None
    stores: Stores | None = None
    sent: Callable[[], Sequence[Frame]] = tuple


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What members that are processes share. `rows` are their rows in the scoreboard, by name of the instance; `mine`
    is the name of this process's instance, "" in the master and in an import; `caches` is the folder of caches, the
    shared queue and metrics, or True in the master, which makes it. `keeper` has the master's table of locks.
    """

    scoreboard: Scoreboard
    rows: Mapping[str, int]
    caches: str | Literal[True]
    locks: Locks
    master_pid: int
    mine: str = ""
    keeper: LockKeeper | None = None
