"""What the members of a generation have in common, and what each of their processes is told."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from trio_uwsgi._process.member_setup import ImportSetup, Setup

if TYPE_CHECKING:
    from pathlib import Path

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._link.scoreboard import Scoreboard
    from trio_uwsgi._locks.remote import LockKeeper
    from trio_uwsgi._process.launcher import Launcher
    from trio_uwsgi._runtime.member_instance import MemberInstance
    from trio_uwsgi._runtime.settings import Settings

__all__ = ["MemberPlan"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlan:
    """What the members of a generation have in common: settings, the workers' listeners, the caches' folder, the table
    of locks, and how processes start.
    """

    launcher: Launcher
    interface: Literal["auto", "wsgi", "asgi"]
    threads: int
    lazy: bool
    settings: Settings
    listeners: Sequence[Listener]
    scoreboard: Scoreboard
    rows: Mapping[str, int]
    caches: Callable[[], Path | None]
    keeper: LockKeeper
    import_timeout: float = 0
    prepare: Mapping[str, object] = dataclasses.field(default_factory=dict)  # passed to `prepare` of the entry

    def import_setup(self) -> ImportSetup:
        """What an import in a zygote is told."""
        return ImportSetup(rows=self.rows, settings=self.settings, caches=str(self.caches()), master_pid=os.getpid())

    def setup(self, instance: MemberInstance, listeners: Sequence[Listener]) -> Setup:
        """What the process of an instance is told."""
        slot = instance.slot
        assert slot.kind != "master"
        return Setup(
            kind=slot.kind,
            number=slot.number,
            row=instance.name,
            replacement=instance.replacement,
            rows=self.rows,
            settings=self.settings,
            interface=self.interface,
            threads=self.threads,
            lazy=self.lazy,
            protocols=[listener.protocol for listener in listeners],
            certificates=[None if listener.tls is None else listener.tls.certificates for listener in listeners],
            caches=str(self.caches()),
            master_pid=os.getpid(),
        )
