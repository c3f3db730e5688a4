"""One member's time on a seat, as the master knows it.

A seat (`slots.py`) is there from the start of the runtime to its end; tenures come and go. Nearly always a seat
has one. While one member follows another without a gap it has two: the one that has the seat and its heir, who starts;
then the one that has the seat and the one that gave way, which ends what it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._link.frames import Frame
    from trio_uwsgi._link.link import Link
    from trio_uwsgi._runtime.placement import Ending
    from trio_uwsgi._runtime.slots import Slot

__all__ = ["MemberInstance", "second_name"]


class MemberInstance:
    """One member's time on a seat.

    `name` is that of the seat, or, where the other one of two has that, a second name. `ready`: it serves.
    `holds_slot`: what waits is for it. `drained`: it begins nothing any more. `closed` is set when it accepts no more
    connections. `ending` says how it ended, None until it has. `outdated`: others' code counts now. `held` are
    declarations of an heir, which count when it is seated. `on_change` is called when it is ready, has given way, or
    has ended.

    Args:
        seat: the seat.
        heir: another one has the seat when it starts.
        second: the other one has the seat's name.
    """

    def __init__(self, slot: Slot, *, replacement: bool = False, second: bool = False) -> None:
        self.slot = slot
        self.replacement = replacement
        self.second = second
        self.name = second_name(slot.name) if second else slot.name
        self.began = trio.current_time() if slot.number else 0.0
        self.scope = trio.CancelScope()
        self.link: Link
        self.closed = trio.Event()
        self.ready = False
        self.holds_slot = not replacement
        self.drained = False
        self.outdated = False
        self.held: list[Frame] = []
        self.ending: Ending | None = None
        self.on_change: Callable[[], None] = _ignore_change

    def __repr__(self) -> str:
        steps = {"ready": self.ready, "holds the slot": self.holds_slot, "drained": self.drained}
        return f"<MemberInstance {self.name}: {', '.join(word for word, yes in steps.items() if yes) or 'new'}>"


def second_name(name: str) -> str:
    """What one of two members on the seat of this name is called, where both are."""
    return f"{name}'"


def _ignore_change() -> None:
    pass
