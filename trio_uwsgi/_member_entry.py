"""What a zygote calls by name: the way from floor 3's processes to the default registry, which is here."""

from __future__ import annotations

from trio_uwsgi import uwsgi
from trio_uwsgi._process import member_process
from trio_uwsgi._runtime.declarations import describe

__all__ = ["describe_application", "main", "prepare"]

prepare = member_process.prepare


def describe_application(app: object) -> bytes:
    """In a zygote, when it has imported the application: what the master has to know of that."""
    return describe(uwsgi.registry)


def main(descriptors: list[int], setup: str) -> float:
    """Be a member. The process ends when this returns, in as many seconds as this gives back."""
    return member_process.main(descriptors, setup, uwsgi.registry)
