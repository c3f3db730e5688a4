"""Declarations that a master hears of while it serves already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_uwsgi._runtime.declarations import adopt, describe
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.targets import Headcount
from trio_uwsgi.errors import RegistrationError

if TYPE_CHECKING:
    from trio_uwsgi._signals.file_monitor import FileMonitor
    from trio_uwsgi._signals.timer import Timer

pytestmark = pytest.mark.pure


def application() -> Registry:
    """A registry as importing an application leaves it."""
    registry = Registry()
    registry.register_signal(7, "mule1", print)
    registry.add_timer(7, 0.5)
    registry.mule(1)(print)
    registry.mule_message_handler(print)
    registry.farm("images")(print)
    return registry


def served(headcount: Headcount) -> tuple[Registry, list[Timer | FileMonitor]]:
    """An empty registry that is being served, and the timers that were armed."""
    registry = Registry()
    armed: list[Timer | FileMonitor] = []
    registry._open(headcount, armed.append, lambda timer: None)
    return registry, armed


def test_adopted_declarations_are_those_of_the_application() -> None:
    """The description of adopted declarations is the one that was adopted; the timer is armed once."""
    registry, armed = served(Headcount(2, 1, farms={"images": (1,)}))
    description = describe(application())
    adopt(registry, description)
    assert description == describe(registry)
    assert [7] == [timer.signum for timer in armed]


@pytest.mark.parametrize("headcount", [Headcount(2, 0), Headcount(2, 1)], ids=["no mule", "no farm"])
def test_declarations_that_do_not_fit_the_members_are_refused(headcount: Headcount) -> None:
    """A master that serves already refuses what it would have refused at the start."""
    registry, _ = served(headcount)
    with pytest.raises(RegistrationError):
        adopt(registry, describe(application()))
