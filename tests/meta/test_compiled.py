"""What is compiled: the list in pyproject.toml, what mypyc wants of those modules, and what setup.py does with it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import pytest

from tests.meta.layout import PACKAGE, PATHS, ROOT, module_name, parsed
from trio_uwsgi._system.build import how_built

LISTED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["trio-uwsgi"]
COMPILED = LISTED["compiled"]
WRITTEN_IN_C = LISTED["written-in-c"]
NAMES = {module_name(ROOT / path) for path in COMPILED}
INHERITABLE = "mypyc_attr(allow_interpreted_subclasses=True)"


def classes() -> dict[str, tuple[str, ast.ClassDef]]:
    """Each class of the package by its name, with its module."""
    found = {}
    for name, path in PATHS.items():
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = name, node
    return found


def bases(node: ast.ClassDef) -> list[str]:
    """The names of the classes that it is made of, without their parameters."""
    return [ast.unparse(base).partition("[")[0] for base in node.bases]


@pytest.mark.parametrize("path", COMPILED)
def test_what_mypyc_wants(path: str) -> None:
    """A class has its base classes among them, is no NamedTuple, dataclass or Protocol, and nothing uses `except*`."""
    known = classes()
    for node in ast.walk(parsed(ROOT / path)):
        assert not isinstance(node, ast.TryStar)
        if isinstance(node, ast.ClassDef):
            assert not [d for d in node.decorator_list if "dataclass" in ast.unparse(d)]
            for base in bases(node):
                assert base in ("Generic", "enum.Enum") or known[base][0] in NAMES


def test_who_may_inherit() -> None:
    """A class of theirs that has subclasses elsewhere says so: otherwise its methods are called without looking."""
    known = classes()
    for module, node in known.values():
        if module not in NAMES:
            for base in bases(node):
                if base in known and known[base][0] in NAMES:
                    assert [INHERITABLE] == [ast.unparse(d) for d in known[base][1].decorator_list], (node.name, base)


def test_what_was_loaded() -> None:
    """In a compiled build these modules are extensions, and all others are Python; otherwise all are."""
    expected = NAMES if how_built() == "compiled" else set()
    for name in ("serve", "testing"):
        importlib.import_module(f"trio_uwsgi.{name}")
    files = {name: str(module.__file__) for name, module in sys.modules.items() if name in PATHS}
    assert expected == {name for name, file in files.items() if file.endswith(tuple(EXTENSION_SUFFIXES))}
    assert files.keys() >= NAMES
    for path in WRITTEN_IN_C:
        assert (how_built() == "compiled") == (importlib.util.find_spec(module_name(ROOT / path)) is not None)


@pytest.fixture
def setup_py(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend, as pip imports it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("TRIO_UWSGI_PURE", raising=False)
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mypyc_is_asked_for_where_it_is_used(setup_py: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for an editable install, nor without a compiler, nor where the user says so."""
    monkeypatch.setenv("CC", "false")
    assert "there is no C compiler" in setup_py.why_pure()
    setup_py.why_pure.cache_clear()
    monkeypatch.delenv("CC")
    assert setup_py.why_pure() == ("" if setup_py.can_compile() else setup_py.why_pure())
    monkeypatch.setattr(setup_py, "can_compile", lambda: True)
    for pure, asked in (("", [setup_py.MYPYC]), ("0", [setup_py.MYPYC]), ("1", [])):
        setup_py.why_pure.cache_clear()
        monkeypatch.setenv("TRIO_UWSGI_PURE", pure)
        assert asked == setup_py.get_requires_for_build_wheel()
    setup_py.why_pure.cache_clear()
    monkeypatch.delenv("TRIO_UWSGI_PURE")
    assert [] == setup_py.get_requires_for_build_editable()


@pytest.mark.real
@pytest.mark.parametrize("why", ["TRIO_UWSGI_PURE", "CC"])
def test_a_pure_wheel(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built without a compiler, or because the user asks for it: a wheel for all machines, with every module."""
    monkeypatch.setenv(why, {"TRIO_UWSGI_PURE": "1", "CC": "false"}[why])
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run([sys.executable, "-m", "pip", *words], cwd=source, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
