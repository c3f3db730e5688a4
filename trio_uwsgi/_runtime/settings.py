"""What a runtime is told and what it stands on, as values that are handed down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import tzinfo

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.options import HttpOptions
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._locks.locks import Locks
    from trio_uwsgi._process.generation import Generations
    from trio_uwsgi._process.launcher import Launcher
    from trio_uwsgi._runtime.placement import Placement
    from trio_uwsgi._signals.targets import Headcount
    from trio_uwsgi._signals.ticker import WallClock
    from trio_uwsgi._units.journal import Journal
    from trio_uwsgi.config.options import AccessRules, AlarmOptions, Cache, RecyclingLimits, SpoolerOptions

__all__ = ["Environment", "Settings", "Shared"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a runtime is made of, out of the `Config`: counts, lengths of queues, times in seconds (0: no harakiri).

    `options` are for `uwsgi.opt`.
    """

    headcount: Headcount
    mule_idle: float
    signal_queue: int
    message_queue: int
    harakiri: float
    mule_harakiri: float
    mercy: float
    lifespan: Literal["auto", "on", "off"]
    http: HttpOptions
    zone: tzinfo | None
    caches: Sequence[Cache]
    locks: int
    alarms: AlarmOptions
    access: AccessRules
    node_timeout: float
    spooler: SpoolerOptions
    chain_reload: bool
    recycling: RecyclingLimits
    options: Mapping[str, bytes | bool | list[bytes]]

    @property
    def blocked_limits(self) -> Mapping[str, float]:
        """Seconds that the loop of a process may be blocked, by kind of member."""
        return {"worker": self.harakiri, "mule": self.mule_harakiri, "spooler": self.spooler.harakiri}

    def for_members(self) -> Settings:
        """What members in processes of their own are told; it can be pickled."""
        return dataclasses.replace(self, alarms=self.alarms.names_only(), options=dict(self.options))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a runtime stands on, and tests replace: where it reports, what time of day it is, where its members live, on
    which sockets they listen; how their code is imported anew, if it can be; where processes of theirs come from, if
    not from the application's name; and `chance`, which gives numbers from 0 to below 1.
    """

    journal: Journal
    wall: WallClock
    placement: Placement
    chance: Callable[[], float]
    listeners: Sequence[Listener] = ()
    shared: Shared | None = None
    generations: Generations | None = None
    launcher: Launcher | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What members that are processes share. `rows` are those of their tenures, by name; `mine` is the name of this
    process's, "" in the master; `caches` is a folder, or True in the master, who makes one.
    """

    scoreboard: Scoreboard
    rows: Mapping[str, int]
    caches: str | Literal[True]
    locks: Locks
    master_pid: int
    mine: str = ""
