"""The rules of the layout, read from the sources: what may import what, and how long things may be.

Each test reads all files, and fails with a list of those that break its rule.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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
    """The lines of a module; without its docstrings, or the comments of options, where they are what people read."""
    text = path.read_text()
    lines = len(text.splitlines())
    if path.match("config/config.py"):
        lines -= len(re.findall(r"^ *#", text, flags=re.MULTILINE))
    if LAYER["uwsgi"] <= LAYER[package(module_name(path))] or path.name == "errors.py":
        lines -= sum(docstring_lines(node) for node in ast.walk(parsed(path)))
    return lines


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_nothing_imports_upward() -> None:
    """At run time a module imports only from its own package and from layers below it."""
    upward = [
        f"{here} imports {name}"
        for here, path in PATHS.items()
        for name in own_imports(path)
        if package(name) != package(here) and LAYER[package(name)] >= LAYER[package(here)]
    ]
    assert [] == upward


def test_no_circles() -> None:
    """Modules can be put in an order in which each imports only from those before it."""
    waiting = {name: {*own_imports(path, late=False)} - {name} for name, path in PATHS.items()}
    while ready := {name for name, wanted in waiting.items() if not wanted & waiting.keys()}:
        waiting = {name: wanted for name, wanted in waiting.items() if name not in ready}
    assert {} == waiting


def test_pure_modules_only_compute() -> None:
    """A module that says so imports nothing that waits, looks at a clock, or touches the operating system."""
    pure = {here: set(imports(path)) for here, path in PATHS.items() if is_pure(path)}
    assert {} == {here: used for here, names in pure.items() if (used := {n.split(".")[0] for n in names} & NOT_PURE)}
    impure = {name for name, path in PATHS.items() if not is_pure(path)}
    assert {} == {here: names & impure for here, names in pure.items() if names & impure}


def test_modules_say_their_job() -> None:
    """A module opens with the one job it has; and a package with what is in it."""
    assert [] == [path for path in SOURCES if not job(path).endswith((".", ":"))]


def test_packages_say_what_is_in_them() -> None:
    """The docstring of a package with an underscore names each of its modules, for whoever reads it first."""
    for path in SOURCES:
        if path.name == "__init__.py" and (path.parent.name.startswith("_") or path.parent.name == "config"):
            named = set(re.findall(r"(?<!/)`(\w+\.py)`", ast.get_docstring(parsed(path)) or ""))
            assert set() == {module.name for module in path.parent.glob("*.py")} - {"__init__.py"} - named, path


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


def test_sizes() -> None:
    """Modules, functions and constructors stay small enough to be read at once."""
    assert {} == {path: lines for path in SOURCES if (lines := module_lines(path)) > LONGEST_MODULE}
    every = [(path, function) for path in SOURCES for function in functions(path)]
    assert [] == [f"{path}: {f.name}: {code_lines(f)} lines" for path, f in every if code_lines(f) > LONGEST_FUNCTION]
    many = [
        f"{path}:{function.lineno}: group the arguments in a frozen dataclass"
        for path, function in every
        if function.name == "__init__" and len(function.args.args) + len(function.args.kwonlyargs) - 1 > MOST_ARGUMENTS
    ]
    assert [] == many


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Does the handler raise, or throw what it caught into a coroutine that it drives?"""
    return any(
        isinstance(node, ast.Raise) or (isinstance(node, ast.Attribute) and node.attr == "throw")
        for node in ast.walk(handler)
    )


def test_cancellation_is_never_swallowed() -> None:
    """Whoever catches BaseException, or everything, passes it on."""
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = "BaseException" if node.type is None else ast.unparse(node.type)
                assert "BaseException" not in re.findall(r"\w+", caught) or passes_on(node), f"{path}:{node.lineno}"


def test_no_drawers() -> None:
    """No module is called after being useful."""
    assert set() == {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "misc", "manager"}


def test_tests_say_what_they_show() -> None:
    """Every test has a docstring, and none replaces a collaborator with a mock."""
    for path in TESTS:
        silent = [f.name for f in functions(path) if f.name.startswith("test_") and not ast.get_docstring(f)]
        assert [] == silent, path
        assert not [name for name in imports(path) if name.startswith("unittest.mock")], path
