"""The declarations of an application, for a master that has not imported it. Pure.

`describe` turns the declarations of a registry into bytes, `declared` makes a registry of these bytes, and `adopt` adds
them to a registry. The functions there are stand-ins: the master needs only targets, numbers, times and paths, and
calls none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.mule_functions import name_of
from trio_uwsgi._signals.timer import Timer
from trio_uwsgi._signals.timer_specs import rule_from_values, rule_values

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["adopt", "declared", "describe", "stand_in"]


def describe(registry: Registry) -> bytes:
    """The declarations that concern a master, as JSON."""
    mules = registry.mules
    return json.dumps(
        {
            "signals": [[signal.signum, signal.target.text] for signal in registry.signals.values()],
            "timers": [[timer.signum, rule_values(timer.rule), timer.late, timer.overlap] for timer in registry.timers],
            "file_monitors": [[monitor.signum, monitor.path] for monitor in registry.file_monitors],
            "programs": list(mules.programs),
            "handlers": [name_of(handler) for handler in mules.message_handlers],
            "farms": list(mules.farms),
            "jobs": list(registry.spool.functions),
            "other_jobs": registry.spool.catch_all and registry.spool.catch_all.name,
        }
    ).encode()


def declared(description: bytes) -> Registry:
    """A registry with these declarations; an empty description has none."""
    registry = Registry()
    adopt(registry, description)
    return registry


def adopt(registry: Registry, description: bytes) -> None:
    """Add these declarations to a registry; one that is being served arms timers and file monitors at once.

    Raises:
        RegistrationError: they do not fit the members.
    """
    found = json.loads(description or b"{}")
    for signum, target in found.get("signals", ()):
        registry.register_signal(signum, target, stand_in)
    for signum, rule, late, overlap in found.get("timers", ()):
        registry._declare(Timer(signum, rule_from_values(rule), late=late, overlap=overlap))
    for signum, path in found.get("file_monitors", ()):
        registry.add_file_monitor(signum, path)
    for number in found.get("programs", ()):
        registry.mules.declare_program(number, stand_in)
    for name in found.get("handlers", ()):
        registry.mules.declare_handler(_named(name))
    for farm in found.get("farms", ()):
        registry.mules.declare_farm(farm, stand_in)
    for name in found.get("jobs", ()):
        registry.spool.declare(_named(name), name=name, encoding="vars", max_tries=None)
    if found.get("other_jobs"):
        registry.spool.declare_catch_all(_named(found["other_jobs"]))
    if registry.headcount is not None:
        registry._check(registry.headcount)


def _named(name: str) -> Callable[..., object]:
    """A stand-in with the name of the function, for errors."""

    def named(*args: object) -> object:
        return stand_in(*args)  # pragma: no cover

    named.__name__ = named.__qualname__ = name
    return named


def _stand_in(*args: object) -> object:
    raise AssertionError("the master called a function of the application")  # pragma: no cover


stand_in: Callable[..., object] = _stand_in
