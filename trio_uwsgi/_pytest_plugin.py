"""pytest fixtures, which pytest finds through the `pytest11` entry point.

They work with and without pytest-trio. Imports are inside the fixtures, because every pytest run in an environment with
this package loads this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import trio.testing

    from trio_uwsgi import Registry


@pytest.fixture
def uwsgi_registry() -> Registry:
    """An empty `Registry`, for the declarations of one test."""
    from trio_uwsgi import Registry

    return Registry()


@pytest.fixture
def uwsgi_clock() -> trio.testing.MockClock:
    """A mock clock that jumps to the next deadline when all tasks wait; with pytest-trio it is the test's clock.

    Inside of `trio_uwsgi.testing.open_runtime`, this clock and pytest-trio's `autojump_clock` stand still while a
    thread of the runtime runs user code.
    """
    import trio.testing

    return trio.testing.MockClock(autojump_threshold=0)
