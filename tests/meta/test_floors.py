"""The rules of the house, read from the sources: who may import whom, and how long things may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "trio_uwsgi"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FLOOR_OF_FOLDER = {"_wire": 1, "_core": 1, "_tasks": 2, "_runtime": 3}
FLOOR_0 = ("_checks", "_mule_options", "_process_options", "addresses", "config", "errors", "options")
TOP_FLOOR = 4

# Floors 0 and 1 only compute: no clock, no chance, no input, no output.
NOT_BELOW_FLOOR_2 = {
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

LONGEST_MODULE = 400  # on floor 4 without docstrings, because there they are the reference manual
LONGEST_FUNCTION = 60  # without its docstring
MOST_ARGUMENTS = 5  # of a constructor


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in SOURCES}


def floor(name: str) -> int:
    """The floor of a module, by its place."""
    parts = name.split(".")[1:]
    if parts and parts[0] in FLOOR_OF_FOLDER:
        return FLOOR_OF_FOLDER[parts[0]]
    return 0 if parts and parts[0] in FLOOR_0 else TOP_FLOOR


def is_type_checking(node: ast.AST) -> bool:
    """Is this the `if TYPE_CHECKING:` block, whose imports never run?"""
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below this one which is not for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield child
            yield from running_nodes(child)


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, at its top or inside of functions."""
    for node in running_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute, so that a reader sees the floor"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in NAMES else str(node.module)


def docstring_lines(node: ast.AST) -> int:
    """The lines of the docstring of a module, class or function; 0 if there is none."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return 0


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, from its `def` to its end, without its docstring."""
    return (function.end_lineno or 0) - function.lineno + 1 - docstring_lines(function)


def module_lines(path: Path) -> int:
    """The lines of a module; on the top floor without its docstrings."""
    text = path.read_text()
    lines = len(text.splitlines())
    if floor(module_name(path)) == TOP_FLOOR:
        lines -= sum(docstring_lines(node) for node in ast.walk(ast.parse(text)))
    return lines


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_imports_upward(path: Path) -> None:
    """A module imports only from its own floor and from those below."""
    here = floor(module_name(path))
    upward = [name for name in imports(path) if name.split(".")[0] == "trio_uwsgi" and floor(name) > here]
    assert [] == upward


@pytest.mark.parametrize("path", [path for path in SOURCES if floor(module_name(path)) < 2], ids=module_name)
def test_the_lower_floors_only_compute(path: Path) -> None:
    """Floors 0 and 1 import nothing that waits, looks at a clock, or touches the operating system."""
    assert set() == {name.split(".")[0] for name in imports(path)} & NOT_BELOW_FLOOR_2


def test_the_rules_see_what_they_look_for(tmp_path: Path) -> None:
    """The reading of imports finds those inside of functions, and leaves out those for type checkers."""
    source = tmp_path / "sample.py"
    source.write_text(
        "import os.path\n"
        "from trio_uwsgi import config\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import trio\n"
        "def late():\n    import socket\n    from trio_uwsgi._tasks.calls import sole\n"
    )
    expected = ["os.path", "trio_uwsgi.config", "typing", "socket", "trio_uwsgi._tasks.calls"]
    assert expected == list(imports(source))
    assert [0, 1, 1, 2, 3, 4, 4] == [
        floor(f"trio_uwsgi{name}")
        for name in (".config", "._wire.http1", "._core", "._tasks.calls", "._runtime.master", ".serve", "")
    ]


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
    for node in ast.walk(ast.parse(path.read_text())):
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
