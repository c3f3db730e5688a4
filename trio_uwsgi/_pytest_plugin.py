"""pytest fixtures, found through the `pytest11` entry point.

They work with pytest-trio and without it. Imports are inside the fixtures: the plugin is loaded into every pytest run
of an environment that has this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import trio.testing

    from trio_uwsgi import Registry


@pytest.fixture
def uwsgi_registry() -> Registry:
    """An empty `Registry`, for declarations that are this test's only."""
    from trio_uwsgi import Registry

    return Registry()


@pytest.fixture
def uwsgi_clock() -> trio.testing.MockClock:
    """A mock clock that jumps ahead when nothing can run; with pytest-trio it is the test's clock.

    Inside of `trio_uwsgi.testing.open_runtime` it stands still while a thread of the runtime runs, as does
    pytest-trio's `autojump_clock`.
    """
    import trio.testing

    return trio.testing.MockClock(autojump_threshold=0)
