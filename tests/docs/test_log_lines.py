"""docs/reference/log_lines.md has every warning and error of the sources, and no line that they do not have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.docs.blocks import ROOT
from tests.meta.layout import SOURCES
from trio_uwsgi.errors import Harakiri

PAGE = ROOT / "docs" / "reference" / "log_lines.md"
LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")
# A line that is the text of an exception, with the same values.
TEXTS = {"harakiri": re.sub(r"\b0\.00\b|\?", "...", str(Harakiri("?", "?", 0, "?")))}


class Line(NamedTuple):
    """One line of the log: its text with `...` for values, and its level."""

    text: str
    level: str


def with_dots(text: str) -> str:
    """A format string with `...` for what is put into it; values side by side are one."""
    return re.sub(r"(?:%(?:\.\d+)?[srdgf])+", "...", text)


def text_of(call: ast.Call, function: ast.AST) -> str:
    """The format string of a logging call: its first argument, or what that name is bound to before."""
    first = call.args[0]
    if isinstance(first, ast.Name):
        (value,) = (
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [first.id]
        )
        first = value
    assert isinstance(first, ast.Constant)
    assert isinstance(first.value, str)
    if first.value == "%s" and ast.unparse(call.args[1]) in TEXTS:
        return TEXTS[ast.unparse(call.args[1])]
    return with_dots(first.value)


def lines_of(source: str) -> Iterator[Line]:
    """Every line that a module may log, at one of the levels of the page."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                level = node.func.attr.upper()
                if level in LEVELS and ast.unparse(node.func.value).endswith("logger"):
                    yield Line(text_of(node, function), level)


def logged() -> set[Line]:
    """Every line of the package."""
    return {line for path in SOURCES for line in lines_of(path.read_text())}


def shown() -> list[Line]:
    """Every line of the page, in its order: the first two cells of the rows of its tables."""
    rows = re.findall(r"^\| (`+) ?(.+?) ?\1 \| (\w+) \| \S", PAGE.read_text(), re.M)
    return [Line(text, level) for _, text, level in rows]


def test_every_warning_and_error_is_on_the_page() -> None:
    """With its level."""
    assert set() == {line for line in logged() if line.level != "INFO"} - set(shown())


def test_every_line_on_the_page_is_in_the_sources() -> None:
    """Also those at the level INFO."""
    assert set() == set(shown()) - logged()


def test_a_line_is_explained_once() -> None:
    """Where it belongs."""
    assert sorted(set(shown())) == sorted(shown())


def test_the_reading_of_sources() -> None:
    """Values become dots, also in a text that has a name; other calls and levels are left out."""
    source = """
def f(self):
    logger.warning("%s: lost %.2f of %d", a, b, c)
    message = "two" " parts"
    alarm_logger.error(message, a)
    logger.error("%s", harakiri)
    logger.debug("x")
    self.error("y")
"""
    assert [
        Line("...: lost ... of ...", "WARNING"),
        Line("two parts", "ERROR"),
        Line("harakiri on ...: ... was cancelled after ... s, stuck at ...", "ERROR"),
    ] == list(lines_of(source))
