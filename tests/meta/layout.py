"""The layout of the package, read from its sources: packages in their order, what imports what, which modules are pure.

`python tests/meta/layout.py` prints the paths of the pure modules, for `coverage report --include`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "trio_uwsgi"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the ground up. When the program runs, a module imports only from its own package and from layers below it.
LAYERS = (
    ("errors",),
    ("_system",),
    ("config",),
    ("_protocol",),
    ("_link",),
    ("_units",),
    ("_caches", "_locks", "_alarms", "_shared_areas"),
    ("_queues", "_metrics"),
    ("_signals",),
    ("_http",),
    ("_apps",),
    ("_spool",),
    ("_nodes",),
    ("_runtime",),
    ("_process",),
    ("_uwsgi_config",),
    ("_program",),
    ("uwsgi",),
    ("compat", "sync"),
    ("_member_entry",),
    ("serve",),
    ("",),  # the package's own __init__, which imports what people use
    ("_testing",),
    ("testing", "__main__"),
    ("_pytest_plugin",),
)
LAYER = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in SOURCES}


def package(name: str) -> str:
    """The part of trio_uwsgi that a module belongs to, as `LAYERS` has it."""
    return [*name.split("."), ""][1]


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax of a file, read once."""
    return ast.parse(path.read_text())


@cache
def job(path: Path) -> str:
    """What a module says of itself in the first paragraph of its docstring."""
    return (ast.get_docstring(parsed(path)) or "").split("\n\n")[0]


def is_pure(path: Path) -> bool:
    """Does a module promise that it only computes: no Trio, clock, chance, log, socket, file or thread?"""
    return re.search(r"(^|\s)Pure\.(\s|$)", job(path)) is not None


def is_type_checking(node: ast.AST) -> bool:
    """Is this the `if TYPE_CHECKING:` block, whose imports never run?"""
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"


def running_nodes(node: ast.AST, *, late: bool = True) -> Iterator[ast.AST]:
    """Every node below this one which is not for type checkers only; those inside of functions too, if `late`."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child) or (not late and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            continue
        yield child
        yield from running_nodes(child, late=late)


@cache
def imports(path: Path, *, late: bool = True) -> tuple[str, ...]:
    """The dotted names that a file imports, at its top or, if `late`, inside of functions."""
    names: list[str] = []
    for node in running_nodes(parsed(path), late=late):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute, so that a reader sees the package"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.append(full if full in PATHS else str(node.module))
    return tuple(names)


def own_imports(path: Path, *, late: bool = True) -> list[str]:
    """Of those, the modules of this package."""
    return [name for name in imports(path, late=late) if name in PATHS]


if __name__ == "__main__":
    print(",".join(str(path.relative_to(ROOT)) for path in SOURCES if is_pure(path)))
