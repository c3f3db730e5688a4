"""What the package says it offers, and what it really does."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

import trio_uwsgi

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The modules that people import from. All others start with an underscore, or are the command line.
PUBLIC = ("compat", "config", "config.addresses", "config.options", "errors", "serve", "sync", "testing", "uwsgi")


def public_modules() -> list[ModuleType]:
    """Every public module, imported. The package's own names hide some of them, so they come from sys.modules."""
    return [importlib.import_module(f"trio_uwsgi.{name}") for name in PUBLIC]


def test_the_public_modules_are_those() -> None:
    """Whatever has no underscore in its name is listed here, and so is documented."""
    found = {module.name for module in pkgutil.iter_modules(trio_uwsgi.__path__) if not module.name.startswith("_")}
    assert {name.split(".")[0] for name in PUBLIC} == found


@pytest.mark.parametrize("module", [trio_uwsgi, *public_modules()], ids=lambda module: str(module.__name__))
def test_all_is_sorted_and_true(module: ModuleType) -> None:
    """`__all__` is in order (constants, classes, the rest), and every name in it exists."""

    def place(name: str) -> tuple[int, str]:
        by_number = re.sub(r"\d+", lambda found: found[0].zfill(3), name)  # as ruff sorts them
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, by_number)

    assert sorted(module.__all__, key=place) == list(module.__all__)
    assert [] == [name for name in module.__all__ if not hasattr(module, name)]


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: str(module.__name__))
def test_all_is_complete(module: ModuleType) -> None:
    """Public functions and classes that are defined in a public module are in its `__all__`."""
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }
    assert set() == defined - set(module.__all__)


def test_importing_the_package_does_not_import_what_tests_need() -> None:
    """A server does not load pytest, httpx or `trio_uwsgi.testing`."""
    code = "import sys, trio_uwsgi; print([n for n in ('pytest', 'httpx', 'trio_uwsgi.testing') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert "[]\n" == done.stdout


def test_the_package_is_typed() -> None:
    """Type checkers are told to use the annotations."""
    assert (ROOT / "trio_uwsgi" / "py.typed").exists()


@pytest.mark.parametrize(
    "target", [*PROJECT["scripts"].values(), *PROJECT["entry-points"]["pytest11"].values()], ids=str
)
def test_entry_points_lead_somewhere(target: str) -> None:
    """The command and the pytest plugin that the package installs can be loaded."""
    assert EntryPoint(name="it", value=target, group="tests").load()
