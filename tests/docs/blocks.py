"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("examples/**/*.md"))]

# `console` shows commands and what they print, `sh` has commands to copy. `text` is neither code nor
# command: an excerpt of a log, a drawing.
LANGUAGES = {"python", "console", "nginx", "apache", "ini", "toml", "json", "yaml", "dockerfile", "sh", "text"}

_FENCE = re.compile(r"(?P<indent>\s*)(?P<marks>`{3,})\s*(?P<info>.*?)\s*$")
_FILE_NAME = re.compile(r"(?:#|//) ([\w./-]+\.\w+|/[\w./-]+|Dockerfile)$")


class Block(NamedTuple):
    """One fenced block: the line of the page it begins at, its language, and its text."""

    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """The name in its first line, as in `# shop.py`: the block is that file."""
        found = _FILE_NAME.match(self.text.partition("\n")[0])
        return found[1] if found else None


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a page in order. Directives, as ```{note}, are no blocks, but may have some inside."""
    directives: list[str] = []
    code: list[str] = []
    language = closing = ""
    begin = indent = 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if closing:
            if fence and fence["marks"].startswith(closing) and not fence["info"]:
                yield Block(begin, language, "\n".join(code) + "\n")
                closing, code = "", []
            else:
                code.append(line[indent:] if not line[:indent].strip() else line)
        elif fence and directives and fence["marks"] == directives[-1] and not fence["info"]:
            directives.pop()
        elif fence and fence["info"].startswith("{"):
            directives.append(fence["marks"])
        elif fence:
            begin, closing, language, indent = number, fence["marks"], fence["info"], len(fence["indent"])


class Command(NamedTuple):
    """One command of a `console` block, and what it is said to print."""

    words: str
    prints: list[str]


def commands_of(text: str) -> list[Command]:
    """The commands of a `console` block: lines that begin with `$ `; those after one are what it prints."""
    found: list[Command] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            found[-1] = Command(found[-1].words.removesuffix("\\") + line.removeprefix(">").strip(), [])
        elif line.startswith("$ "):
            found.append(Command(line.removeprefix("$ ").strip(), []))
        else:
            assert found, f"a console block begins with a command: {line!r}"
            found[-1].prints.append(line)
            continue
        goes_on = found[-1].words.endswith("\\")
    return found


def fits(shown: str, line: str, *, whole: bool = True) -> bool:
    """Is a shown line the real one? `...` in it stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.rstrip().split("..."))
    return bool(re.fullmatch(pattern, line.rstrip()) if whole else re.search(pattern, line))


def prints_as_shown(shown: list[str], printed: list[str]) -> bool:
    """Was this printed? A line that is only `...` stands for any number of lines."""
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(prints_as_shown(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and fits(shown[0], printed[0]) and prints_as_shown(shown[1:], printed[1:])


def in_order(shown: list[str], log: list[str]) -> list[str]:
    """What of the shown lines is not in the log, in this order; between them anything may be."""
    lines = iter(log)
    return [
        line for line in shown if line.strip() != "..." and not any(fits(line, other, whole=False) for other in lines)
    ]
