"""A member instance: one run of a member in a slot, from its start to its end, as the master knows it.

A slot (`slots.py`) exists from the start of the runtime to its end, and has one instance at a time. Only while an
instance is replaced it has two: first the holder and its replacement, which starts; then the new holder and the former
one, which drains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_uwsgi._link.frames import Frame
    from trio_uwsgi._link.link import Link
    from trio_uwsgi._runtime.placement import Ending
    from trio_uwsgi._runtime.slots import Slot

__all__ = ["MemberInstance", "second_name", "stop_by"]


class MemberInstance:
    """One run of a member in a slot.

    `name` is the name of the slot, or a second name while another instance has that. `ready`: it serves. `holds_slot`:
    deliveries that wait in the slot are for it. `drained`: it begins nothing new. `closed` is set when it accepts no
    more connections. `ending` says how it ended; None while it runs. `outdated`: newer code was adopted, so its
    declarations do not count any more. `held` are declarations of a replacement, which count when it takes over.
    `on_change` is called when it is ready, has drained, or has ended.

    Args:
        slot: the slot.
        replacement: another instance holds the slot when this one starts.
        second: the other instance has the slot's name.
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
    """The name of the second instance in the slot of this name, while there are two."""
    return f"{name}'"


def _ignore_change() -> None:
    pass


def stop_by(deadline: float, patient: bool) -> Stop:
    """The frame that has a member stop until then, sent now."""
    return Stop(patient, max(0, deadline - trio.current_time()))
