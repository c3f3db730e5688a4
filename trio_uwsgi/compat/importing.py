"""Makes the modules `uwsgi` and `uwsgidecorators` importable, and undoes that."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from trio_uwsgi.compat import facts as known_facts
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.compat.module import UwsgiModule, make_module, set_facts
from trio_uwsgi.config import Config

__all__ = ["enter", "entered", "entered_with"]

_NAME = "uwsgi"
_DECORATORS = "uwsgidecorators"


class _Finder:
    """Finds our `uwsgidecorators` where no other finder has found one."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _DECORATORS:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).with_name("decorators.py"))


_replaced: dict[str, ModuleType] = {}  # modules of these names from before


def enter(facts: Facts) -> None:
    """Make the modules importable. Where they are already, the values of `uwsgi` become those of this runtime."""
    if not known_facts.entries:
        for name in (_NAME, _DECORATORS):
            if name in sys.modules:
                _replaced[name] = sys.modules.pop(name)
        sys.modules[_NAME] = make_module()
        sys.meta_path.append(_Finder)
    known_facts.entries.append(facts)
    _update()


def _leave(facts: Facts) -> None:
    """The reverse of `enter`; the modules are importable until the last runtime has left."""
    known_facts.entries.remove(facts)
    if known_facts.entries:
        _update()
        return
    sys.meta_path.remove(_Finder)
    for name in (_NAME, _DECORATORS):
        sys.modules.pop(name, None)
    sys.modules.update(_replaced)
    _replaced.clear()


def _update() -> None:
    module = sys.modules.get(_NAME)
    if isinstance(module, UwsgiModule):  # the application may have put another one there
        set_facts(module, known_facts.current())


@contextlib.contextmanager
def entered_with(facts: Facts | None) -> Iterator[None]:
    """Make the modules importable while the body runs; with None, do nothing."""
    if facts is None:
        yield
        return
    enter(facts)
    try:
        yield
    finally:
        _leave(facts)


@contextlib.contextmanager
def entered(config: Config = Config()) -> Iterator[None]:  # noqa: B008  # frozen
    """Make the modules `uwsgi` and `uwsgidecorators` importable while the body of a `with` block runs.

    The server does that by itself, before it imports an application. Use this in a test that imports an application
    which was written for uWSGI, around the import and `open_runtime`.

    Args:
        config: the options that the modules show, as in `uwsgi.opt`.
    Checkpoint: never.
    uWSGI: no counterpart.
    Example:
        with compat.entered(Config(mules=1)):
            from shop import application
    """
    with entered_with(Facts.of(config, os.getpid(), time.time())):
        yield
