"""The rules of the house, read from the sources: who may import whom, and how long things may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.layout import (
    LAYER,
    PATHS,
    ROOT,
    SOURCES,
    imports,
    is_pure,
    job,
    module_name,
    own_imports,
    package,
    parsed,
)
from tests.meta.picture import PICTURE, draw

TESTS = sorted((ROOT / "tests").rglob("*.py"))

# What a pure module does without: it only computes.
NOT_PURE = {
    "asyncio",
    "logging",
    "os",
    "random",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
    "trio",
}

LONGEST_MODULE = 400  # what people call is counted without docstrings, because there they are the reference manual
LONGEST_FUNCTION = 60  # without its docstring
MOST_ARGUMENTS = 5  # of a constructor


def docstring_lines(node: ast.AST) -> int:
    """The lines of the docstring of a module, class or function; 0 if there is none."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return 0


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, from its `def` to its end, without its docstring."""
    return (function.end_lineno or 0) - function.lineno + 1 - docstring_lines(function)


def module_lines(path: Path) -> int:
    """The lines of a module; without its docstrings, where they are what people read."""
    text = path.read_text()
    lines = len(text.splitlines())
    if LAYER["uwsgi"] <= LAYER[package(module_name(path))]:
        lines -= sum(docstring_lines(node) for node in ast.walk(parsed(path)))
    return lines


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_imports_upward(path: Path) -> None:
    """At run time a module imports only from its own package and from layers below it."""
    here = package(module_name(path))
    upward = [name for name in own_imports(path) if package(name) != here and LAYER[package(name)] >= LAYER[here]]
    assert [] == upward


def test_no_circles() -> None:
    """Modules can be put in an order in which each imports only from those before it."""
    waiting = {name: {*own_imports(path, late=False)} - {name} for name, path in PATHS.items()}
    while ready := {name for name, wanted in waiting.items() if not wanted & waiting.keys()}:
        waiting = {name: wanted for name, wanted in waiting.items() if name not in ready}
    assert {} == waiting


@pytest.mark.parametrize("path", [*filter(is_pure, SOURCES)], ids=module_name)
def test_pure_modules_only_compute(path: Path) -> None:
    """A module that says so imports nothing that waits, looks at a clock, or touches the operating system."""
    names = set(imports(path))
    assert set() == {name.split(".")[0] for name in names} & NOT_PURE
    assert [] == [name for name in names & PATHS.keys() if not is_pure(PATHS[name])]


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_modules_say_their_job(path: Path) -> None:
    """A module opens with the one job it has; and a package with what is in it."""
    assert job(path).endswith((".", ":"))


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=module_name)
def test_packages_say_what_is_in_them(path: Path) -> None:
    """The docstring of a package with an underscore names each of its modules, for whoever reads it first."""
    doc = ast.get_docstring(parsed(path)) or ""
    there = {module.name for module in path.parent.glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"(?<!/)`(\w+\.py)`", doc))
    if path.parent.name.startswith("_") or path.parent.name == "config":
        assert there <= named


def test_the_picture_is_of_this_code() -> None:
    """`python -m tests.meta.picture` draws it anew."""
    assert PICTURE.read_text() == draw()


def test_the_rules_see_what_they_look_for(tmp_path: Path) -> None:
    """The reading of imports finds those inside of functions, and leaves out those for type checkers."""
    source = tmp_path / "sample.py"
    source.write_text(
        '"""Adds.\n\nPure."""\n'
        "import os.path\n"
        "from trio_uwsgi import config\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import trio\n"
        "def late():\n    import socket\n    from trio_uwsgi._units.calls import sole\n"
    )
    expected = ["os.path", "trio_uwsgi.config", "typing", "socket", "trio_uwsgi._units.calls"]
    assert expected == list(imports(source))
    assert expected[:3] == list(imports(source, late=False))
    assert not is_pure(source)
    pure = tmp_path / "pure.py"
    pure.write_text('"""Adds. Pure."""\n')
    assert is_pure(pure)
    names = ("trio_uwsgi.errors", "trio_uwsgi._http.http1", "trio_uwsgi._runtime", "trio_uwsgi")
    assert ["errors", "_http", "_runtime", ""] == list(map(package, names))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_sizes(path: Path) -> None:
    """Modules, functions and constructors stay small enough to be read at once."""
    assert LONGEST_MODULE >= module_lines(path)
    long = [f"{f.name} has {code_lines(f)} lines" for f in functions(path) if code_lines(f) > LONGEST_FUNCTION]
    assert [] == long
    for function in functions(path):
        if function.name == "__init__":
            arguments = len(function.args.args) + len(function.args.kwonlyargs) - 1
            assert MOST_ARGUMENTS >= arguments, f"line {function.lineno}: group them in a frozen dataclass"


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Does the handler raise, or throw what it caught into a coroutine that it drives?"""
    return any(
        isinstance(node, ast.Raise) or (isinstance(node, ast.Attribute) and node.attr == "throw")
        for node in ast.walk(handler)
    )


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_cancellation_is_never_swallowed(path: Path) -> None:
    """Whoever catches BaseException, or everything, passes it on."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ExceptHandler):
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
            assert "BaseException" not in re.findall(r"\w+", caught) or passes_on(node), f"line {node.lineno}"


def test_no_drawers() -> None:
    """No module is called after being useful."""
    assert set() == {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "misc", "manager"}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_say_what_they_show(path: Path) -> None:
    """Every test has a docstring, and none replaces a collaborator with a mock."""
    silent = [f.name for f in functions(path) if f.name.startswith("test_") and not ast.get_docstring(f)]
    assert [] == silent
    assert not [name for name in imports(path) if name.startswith("unittest.mock")]
