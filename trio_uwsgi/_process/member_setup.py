"""What a process that imports the application, or runs a member, is told by the master, and what it makes of that."""

from __future__ import annotations

import base64
import dataclasses
import pickle
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._process.heartbeat_loop import HeartbeatLoop, beat
from trio_uwsgi._runtime.import_phase import ImportPhase, LockLine
from trio_uwsgi._runtime.placement import in_task
from trio_uwsgi._runtime.settings import Environment, Settings, Shared
from trio_uwsgi._runtime.stores import Stores
from trio_uwsgi._shared_areas.rules import memory_size
from trio_uwsgi._signals.ticker import WallClock
from trio_uwsgi._units.journal import Journal, LoggingJournal

if TYPE_CHECKING:
    import trio

    from trio_uwsgi._http.certificates import Certificates
    from trio_uwsgi._runtime.registry import Registry

__all__ = ["ImportSetup", "MemberEnvironment", "Setup", "import_phase", "open_scoreboard"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportSetup:
    """The settings of a process that imports the application. `rows` are the scoreboard's rows of all members, by name;
    `caches` is the folder of what processes share.
    """

    rows: Mapping[str, int]
    settings: Settings
    caches: str
    master_pid: int

    def to_json(self) -> str:
        """As a JSON value. Pickle is safe: the socket connects only processes of this server."""
        return base64.b64encode(pickle.dumps(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse of `to_json`."""
        setup = pickle.loads(base64.b64decode(text))
        assert isinstance(setup, cls)
        return setup


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup(ImportSetup):
    """The settings of a member's process. `row` is the name of its row in the scoreboard. `protocols` and
    `certificates` are those of the listeners. `replacement`: another instance holds the slot. `lazy`: this process has
    to import the application.
    """

    kind: Literal["worker", "mule", "spooler"]
    number: int
    row: str
    replacement: bool
    interface: Literal["auto", "wsgi", "asgi"]
    threads: int
    lazy: bool
    protocols: Sequence[Literal["http", "uwsgi"]]
    certificates: Sequence[Certificates | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberEnvironment:
    """What tests replace in a member's process: as in `Environment`, and the clock of its event loop (None: the
    system's), and the task that repeats the heartbeat.
    """

    journal: Journal = dataclasses.field(default_factory=LoggingJournal)
    wall: WallClock = dataclasses.field(default_factory=lambda: WallClock(time.time))
    chance: Callable[[], float] = random.SystemRandom().random  # the application may seed the shared generator
    clock: trio.abc.Clock | None = None
    run_heartbeat: Callable[[HeartbeatLoop], Awaitable[None]] = beat


def open_scoreboard(memory: int, setup: ImportSetup) -> Scoreboard:
    """The scoreboard, of which this process has inherited the descriptor."""
    settings = setup.settings
    return Scoreboard(memory, len(setup.rows), settings.locks + 1, [memory_size(size) for size in settings.areas])


def import_phase(
    setup: ImportSetup,
    registry: Registry,
    member_environment: MemberEnvironment,
    scoreboard: Scoreboard,
    line: int,
    member: tuple[Literal["master", "worker", "mule", "spooler"], int] = ("master", 0),
) -> ImportPhase:
    """The context manager around the import of the application in this process; `line` is the descriptor of its socket
    for locks.
    """
    locks = LockLine(line, setup.settings.locks, scoreboard)
    shared = Shared(
        scoreboard=scoreboard, rows=setup.rows, caches=setup.caches, locks=locks.locks, master_pid=setup.master_pid
    )
    environment = Environment(
        journal=member_environment.journal,
        wall=member_environment.wall,
        placement=in_task,
        chance=member_environment.chance,
        shared=shared,
        stores=Stores(setup.settings, member_environment.wall.now, shared),
    )
    return ImportPhase(registry, setup.settings, environment, member, locks)
