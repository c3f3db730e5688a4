"""The module object `uwsgi`: its functions, its values, and what happens when the application assigns."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat import (
    caches,
    cores,
    counters,
    locks,
    mules,
    process,
    queue,
    requests,
    rpc,
    shared_areas,
    signals,
    spooler,
    websockets,
)
from trio_uwsgi.compat.absent import refusals, why_missing
from trio_uwsgi.compat.hooks import HOOKS, assigned

if TYPE_CHECKING:
    from trio_uwsgi.compat.facts import Facts

__all__ = ["SUBJECTS", "UwsgiModule", "make_module", "set_facts"]

SUBJECTS = (signals, rpc, caches, counters, locks, mules, process, requests, cores, websockets)
"""The modules whose `__all__` are functions of `uwsgi`. `set_facts` adds those that need an option."""


class UwsgiModule(ModuleType):
    """The module `uwsgi` of an application."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in HOOKS:
            assigned(self, name)

    def __getattr__(self, name: str) -> Any:  # Any: the module `uwsgidecorators`
        if name == "decorators":
            return importlib.import_module("uwsgidecorators")
        return self._lacks(name)

    def _lacks(self, name: str) -> NoReturn:
        raise AttributeError(why_missing(name), name=name, obj=self)


def make_module() -> UwsgiModule:
    """A module `uwsgi` with all that does not depend on a runtime."""
    module = UwsgiModule("uwsgi", "uWSGI's API, over the runtime of trio_uwsgi.")
    found = vars(module)
    found.update(refusals())
    for subject in SUBJECTS:
        found.update({name: getattr(subject, name) for name in subject.__all__})
    found.update(
        SPOOL_OK=native.SPOOL_OK,
        SPOOL_RETRY=native.SPOOL_RETRY,
        SPOOL_IGNORE=native.SPOOL_IGNORE,
        applications=None,
        has_threads=1,
        hostname=native.hostname.encode(),
        loop=None,
        magic_table={},
        unbit=None,
        version=native.version.encode(),
        version_info=native.version_info,
    )
    return module


def set_facts(module: UwsgiModule, facts: Facts) -> None:
    """Set all that depends on the runtime."""
    found = vars(module)
    found.update(
        buffer_size=facts.buffer_size,
        cores=facts.cores,
        is_a_reload=facts.is_a_reload,
        numproc=facts.workers,
        opt=facts.opt,
        started_on=facts.started_on,
    )
    slots = int(facts.opt.get("queue", 0))
    directories = tuple(name.encode() for name in facts.spoolers)
    _set(found, {"spoolers": directories} | _functions(spooler), bool(directories))
    _set(found, {"queue_size": slots} | _functions(queue), bool(slots))
    _set(found, _functions(shared_areas), bool(facts.areas))
    _set(found, {"pidfile": (facts.pidfile or "").encode()}, facts.pidfile is not None)


def _functions(subject: ModuleType) -> dict[str, object]:
    return {name: getattr(subject, name) for name in subject.__all__ if name != "job_dict"}


def _set(found: dict[str, object], values: dict[str, object], there: bool) -> None:
    """Set values that the module has only with an option, or remove those of another runtime."""
    for name, value in values.items():
        if there:
            found[name] = value
        else:
            found.pop(name, None)
