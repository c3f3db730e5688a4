"""The modes in which synchronous code runs, and applications that call one function for each request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.paths.placements import HAS_PROCESSES
from trio_uwsgi import Config

if TYPE_CHECKING:
    from trio_uwsgi.testing import RuntimeUnderTest

__all__ = ["Enter", "Mode", "all_modes", "asking", "config_in", "get"]

Enter = Callable[[Config], Any]  # Any: a module to which code assigns
Mode = dict[str, Any]  # options of a Config, whose types it checks itself

_PROCESSES = [
    pytest.param({"placement": "process"}, marks=pytest.mark.processes, id="processes inline"),
    pytest.param({"placement": "process", "threads": 2}, marks=pytest.mark.processes, id="processes with threads"),
]

all_modes = pytest.mark.parametrize(
    "mode", [pytest.param({"threads": 2}, id="tasks"), *(_PROCESSES if HAS_PROCESSES else [])]
)


def config_in(mode: Mode, **options: Any) -> Config:
    """A Config in this mode; the options count more than what the mode says."""
    return Config(**{**mode, **options})


def asking(**calls: Callable[[], object]) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that answers `/name` with what the call of this name returns or raises."""

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        try:
            answer = repr(calls[environ["PATH_INFO"][1:]]())
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [answer.encode()]

    return app


async def get(runtime: RuntimeUnderTest, name: str) -> str:
    """What such an application answers."""
    return (await runtime.client.get(f"/{name}")).text
