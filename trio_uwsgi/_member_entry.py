"""The functions that a zygote calls by name. They pass the default registry to `_process/member_process.py`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from trio_uwsgi import uwsgi
from trio_uwsgi._process import member_process
from trio_uwsgi._process.member_setup import ImportSetup, MemberEnvironment, import_phase, open_scoreboard
from trio_uwsgi._program import app_import
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.compat.importing import enter

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trio_uwsgi._runtime.import_phase import ImportPhase
    from trio_uwsgi.config import Config

__all__ = ["describe_application", "importing", "main", "prepare", "rehearsing", "setup_of"]

_FACTS = "uwsgi"


def setup_of(facts: Facts | None) -> Mapping[str, object]:
    """What `prepare` needs for the module `uwsgi`; nothing without that module."""
    return {} if facts is None else {_FACTS: facts.to_text()}


def prepare(setup: Mapping[str, object]) -> None:
    """Before the application is imported: log as the master does, and make the module `uwsgi` importable."""
    member_process.prepare(setup)
    if (text := setup.get(_FACTS)) is not None:
        facts = Facts.from_text(str(text))
        enter(dataclasses.replace(facts, is_a_reload=bool(setup.get("is_a_reload"))))


def importing(descriptors: list[int], setup: Mapping[str, object]) -> ImportPhase:
    """In a zygote: the context manager around the import of the application."""
    memory, line = descriptors
    known = ImportSetup.from_json(str(setup["import"]))
    scoreboard = open_scoreboard(memory, known)
    phase = import_phase(known, uwsgi.registry, MemberEnvironment(), scoreboard, line)
    phase.at_end = partial(os.close, memory)  # not to be inherited; the application may keep views of shared areas
    return phase


def rehearsing(config: Config) -> AbstractContextManager[None]:
    """In a process that only reads the `config` of a module: the context manager around that import."""
    return app_import.rehearsing(config, uwsgi.registry)


def describe_application(app: object) -> bytes:
    """In a zygote that has imported the application: the declarations, for the master."""
    return describe(uwsgi.registry)


def main(descriptors: list[int], setup: str) -> float:
    """Run a member. The process ends when this returns, within the seconds that this returns."""
    return member_process.main(descriptors, setup, uwsgi.registry)
