"""The expressions of module_calls.txt. It is imported by the application that evaluates them, too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["CALLS", "Call"]


class Call(NamedTuple):
    """An expression; `name` is the same, but for one that stands several times in its place.

    `mark` is what it does to a real uWSGI, or "".
    """

    name: str
    mark: str
    expression: str


def _calls(text: str) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    calls: list[Call] = []
    for line in text.splitlines():
        if re.fullmatch(r"\[[a-z ]+\]", line):
            found[line[1:-1]] = calls = []
        elif line and not line.startswith("#"):
            marked = re.fullmatch(r"(crashes|hangs|corrupts): (.*)", line)
            mark, expression = (marked[1], marked[2]) if marked else ("", line)
            times = sum(call.expression == expression for call in calls) + 1
            calls.append(Call(expression if times == 1 else f"{expression} #{times}", mark, expression))
    return found


CALLS = _calls(Path(__file__).with_suffix(".txt").read_text())
"""By the place where they are evaluated."""
