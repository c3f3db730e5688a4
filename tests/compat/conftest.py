"""The module `uwsgi` of a test, with declarations of its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.services import open_http as open_http
from trio_uwsgi import Config, Registry, compat
from trio_uwsgi import uwsgi as native

if TYPE_CHECKING:
    from tests.compat.modes import Enter

OURS = Path(compat.__file__).with_name("decorators.py")


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Enter]:
    """Makes the modules importable for the rest of the test, as before an application is imported; returns `uwsgi`."""
    monkeypatch.setattr(native, "registry", Registry())
    with contextlib.ExitStack() as stack:

        def begin(config: Config) -> Any:  # Any: a module to which code assigns
            stack.enter_context(compat.entered(config))
            return importlib.import_module("uwsgi")

        yield begin


@pytest.fixture(params=["ours", "uWSGI's"])
def decorators(request: pytest.FixtureRequest) -> Any:  # Any: a function that returns a module
    """Imports `uwsgidecorators`: this package's, and the file of uWSGI's own wheel, unmodified."""
    return load_ours if request.param == "ours" else load_theirs


def load_theirs() -> ModuleType:
    """The `uwsgidecorators` of uWSGI's wheel; a test that needs it is skipped without it."""
    found = importlib.util.find_spec("uwsgidecorators")
    if found is None or found.origin == str(OURS):
        pytest.skip("uWSGI's uwsgidecorators.py is not installed (pip install pyuwsgi)")
    return importlib.import_module("uwsgidecorators")


def load_ours() -> ModuleType:
    """This package's `uwsgidecorators`, also where another one is on the path."""
    spec = importlib.util.spec_from_file_location("uwsgidecorators", OURS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["uwsgidecorators"] = module
    spec.loader.exec_module(module)
    return module
