"""The functions that a zygote calls by name. They pass the default registry to `_process/member_process.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from trio_uwsgi import uwsgi
from trio_uwsgi._process import member_process
from trio_uwsgi._runtime.declarations import describe
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.compat.importing import enter

__all__ = ["describe_application", "main", "prepare", "setup_of"]

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


def describe_application(app: object) -> bytes:
    """In a zygote that has imported the application: the declarations, for the master."""
    return describe(uwsgi.registry)


def main(descriptors: list[int], setup: str) -> float:
    """Run a member. The process ends when this returns, within the seconds that this returns."""
    return member_process.main(descriptors, setup, uwsgi.registry)
