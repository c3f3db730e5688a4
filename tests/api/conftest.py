"""A way to run code as a mule's program."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_uwsgi import Config, Registry
from trio_uwsgi.testing import RuntimeUnderTest, open_runtime

InMule = Callable[..., Awaitable[RuntimeUnderTest]]


@pytest.fixture
def in_mule(uwsgi_registry: Registry) -> InMule:
    """Runs an async function as the program of mule 1, until it returns; gives the runtime, which has ended."""

    async def run(
        program: Callable[[], Awaitable[None]], app: object = None, *, allow_failures: bool = False, **options: Any
    ) -> RuntimeUnderTest:
        done = trio.Event()

        @uwsgi_registry.mule(1)
        async def wrapped() -> None:
            await program()
            done.set()

        config = Config(mules=1, **options)
        async with open_runtime(app, config, registry=uwsgi_registry, allow_failures=allow_failures) as runtime:
            await done.wait()
        return runtime

    return run


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """Counts the open descriptors of this process."""
    return lambda: len(os.listdir("/proc/self/fd"))
