"""The functions that a zygote calls by name. They pass the default registry to `_process/member_process.py`."""

from __future__ import annotations

from trio_uwsgi import uwsgi
from trio_uwsgi._process import member_process
from trio_uwsgi._runtime.declarations import describe

__all__ = ["describe_application", "main", "prepare"]

prepare = member_process.prepare


def describe_application(app: object) -> bytes:
    """In a zygote that has imported the application: the declarations, for the master."""
    return describe(uwsgi.registry)


def main(descriptors: list[int], setup: str) -> float:
    """Run a member. The process ends when this returns, within the seconds that this returns."""
    return member_process.main(descriptors, setup, uwsgi.registry)
