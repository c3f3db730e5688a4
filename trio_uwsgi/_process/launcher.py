"""Where the processes of members come from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trio_uwsgi._process.zygote_start import StartZygote, start_zygote

if TYPE_CHECKING:
    from trio_uwsgi._process.app_name import AppReference

__all__ = ["Launcher"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How there are zygotes, and what they find.

    Args:
        app: the application's name, for whoever imports it, and for the log.
        entry: in which module the functions are that a zygote calls: `prepare`, `describe_application`, `main`.
        hatch: starts a zygote.
        watched: members whose loop is blocked are ended from outside, by the system's clock.
    """

    app: AppReference
    entry: str
    start_zygote: StartZygote = start_zygote
    watched: bool = True
