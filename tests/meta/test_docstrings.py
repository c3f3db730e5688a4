"""Public names are documented, in the form that CONTRIBUTING.md gives."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator

import pytest

from trio_uwsgi import serve, uwsgi

PUBLIC = ("config", "config.addresses", "config.options", "errors", "serve", "sync", "testing", "uwsgi")


def public_names() -> Iterator[tuple[str, object]]:
    """Every public class and function, and the public methods and properties that a public class defines itself."""
    for name in PUBLIC:
        module = importlib.import_module(f"trio_uwsgi.{name}")
        for public in module.__all__:
            value = getattr(module, public)
            if not (inspect.isclass(value) or inspect.isfunction(value)) or not value.__module__.startswith(
                "trio_uwsgi"
            ):
                continue
            yield f"{name}.{public}", value
            if inspect.isclass(value):
                for attribute, member in vars(value).items():
                    if not attribute.startswith("_") and (
                        callable(member) or isinstance(member, property | classmethod)
                    ):
                        yield f"{name}.{public}.{attribute}", member


NAMES = dict(public_names())
UWSGI_FUNCTIONS = {name: value for name in uwsgi.__all__ if inspect.isfunction(value := getattr(uwsgi, name))}


def sections(doc: str) -> set[str]:
    """The section names of a docstring: what stands before a colon at the left edge."""
    return set(re.findall(r"^([A-Z][A-Za-z ]*|uWSGI):", doc, flags=re.MULTILINE))


def documented_arguments(doc: str) -> set[str]:
    """The names in the Args section: the least indented lines of it, up to their colon."""
    found = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", doc, flags=re.MULTILINE)
    block = textwrap.dedent(found.group(1)) if found else ""
    return {
        name.strip().lstrip("*")
        for line in re.findall(r"^(\S[^:]*):", block, flags=re.MULTILINE)
        for name in line.split(",")
    }


def raises_by_itself(function: Callable[..., object]) -> bool:
    """Has the function a raise statement of its own?"""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


def arguments(function: Callable[..., object]) -> set[str]:
    """The parameters that a caller may give."""
    return {name for name in inspect.signature(function).parameters if name != "self"}


def test_public_names_have_a_docstring() -> None:
    """It starts with one line, which is a sentence."""
    for name, value in NAMES.items():
        assert ((inspect.getdoc(value) or "").splitlines() or [""])[0].endswith((".", "?", ":")), name


@pytest.mark.parametrize("name", UWSGI_FUNCTIONS)
def test_the_uwsgi_api_is_documented_whole(name: str) -> None:
    """Each function says what its arguments are, what it raises, whether it checkpoints, and what uWSGI does."""
    function = UWSGI_FUNCTIONS[name]
    doc = inspect.getdoc(function) or ""
    expected = {"Checkpoint", "uWSGI"}
    if arguments(function):
        expected.add("Args")
    if raises_by_itself(function):
        expected.add("Raises")
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        expected.add("Cancellation")
    assert set() == expected - sections(doc)
    assert arguments(function) == documented_arguments(doc)


def test_serve_is_documented_whole() -> None:
    """`serve` says what it takes, how it ends, who closes what, and where errors go."""
    doc = inspect.getdoc(serve) or ""
    expected = {"Args", "Raises", "Resource handling", "Error handling", "Checkpoint", "Cancellation"}
    assert set() == expected - sections(doc)
    assert arguments(serve) == documented_arguments(doc)


def test_the_reading_of_sections() -> None:
    """Sections and arguments are found as CONTRIBUTING.md writes them."""
    arguments_section = "Args:\n    signum: which\n        one: or the other.\n    a, b: two.\n"
    doc = f"Do it.\n\n{arguments_section}Raises:\n    X: y.\nuWSGI: none.\n"
    assert {"Args", "Raises", "uWSGI"} == sections(doc)
    assert {"signum", "a", "b"} == documented_arguments(doc)
