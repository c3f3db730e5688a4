"""The launcher: how zygotes are started, and what they run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trio_uwsgi._process.zygote_start import StartZygote, start_zygote

if TYPE_CHECKING:
    from trio_uwsgi._process.app_name import AppReference

__all__ = ["Launcher"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How zygotes are started, and what they run.

    Args:
        app: the application's name, for its import and for the log.
        entry: the module of the functions that a zygote calls: `prepare`, `importing`, `describe_application`,
            `main`.
        start_zygote: starts a zygote.
        watched: whether the watchdog kills members whose event loop is blocked.
        imports: whether a zygote is a new process that imports the application. A test's is a fork of this one, which
            must not inherit open stores.
    """

    app: AppReference
    entry: str
    start_zygote: StartZygote = start_zygote
    watched: bool = True
    imports: bool = True
