"""What a master is told of an application that only its members import."""

from __future__ import annotations

import pytest

from trio_uwsgi._runtime.declarations import declared, describe
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.timer import Again, Cron, Every
from trio_uwsgi._signals.timer_specs import cron_spec

pytestmark = pytest.mark.pure


def nothing(*args: object) -> None:
    """A function of the application."""


def test_what_is_declared_arrives() -> None:
    """Targets, numbers, times, programs, handlers, farms and jobs are those of the application; functions are not."""
    registry = Registry()
    registry.register_signal(17, "workers", nothing)
    registry.register_signal(0, "farm_images", nothing)
    registry.add_timer(17, 0.5, late="queue", overlap=True)
    registry.add_rb_timer(0, 3, 7)
    registry.add_cron(0, -5, -1, -1, -1, -1)
    registry.add_cron(0, "0 3 * * MON-FRI")
    registry.add_file_monitor(17, "/etc/é\udc80")
    registry.mule(2)(nothing)
    registry.mule_message_handler(nothing)
    registry.mule_message_handler(nothing)
    registry.farm("images")(nothing)
    registry.spool_handler(nothing)
    registry.spooler(nothing)
    found = declared(describe(registry))
    assert {17: "workers", 0: "farm_images"} == {signum: s.target.text for signum, s in found.signals.items()}
    rules = [Every(0.5), Again(3, 7), Cron(cron_spec(-5, -1, -1, -1, -1)), Cron(cron_spec("0 3 * * MON-FRI"))]
    assert rules == [timer.rule for timer in found.timers]
    assert [(17, "queue", True), *[(0, "skip", False)] * 3] == [
        (timer.signum, timer.late, timer.overlap) for timer in found.timers
    ]
    assert [(17, "/etc/é\udc80")] == [(monitor.signum, monitor.path) for monitor in found.file_monitors]
    assert ([2], 2, ["images"], ["nothing"], True) == (
        list(found.mules.programs),
        len(found.mules.message_handlers),
        list(found.mules.farms),
        list(found.spool.functions),
        found.spool.catch_all is not None,
    )
    assert describe(registry) == describe(found)
    functions = [found.signals[17].handler, found.mules.programs[2], found.mules.farms["images"]]
    assert nothing not in functions


@pytest.mark.parametrize("description", [b"", describe(Registry())], ids=["none", "of nothing"])
def test_nothing_is_declared(description: bytes) -> None:
    """An application that declares nothing, or has no description, gives an empty registry."""
    assert repr(Registry()) == repr(declared(description))
