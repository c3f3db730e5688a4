"""The sentences of a page, without its code: what a reader has to read. `python -m tests.docs.prose` measures them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs.blocks import PAGES, ROOT

_FENCE = re.compile(r"^(\s*)(`{3,}|:{3,})(.*)$")
_END = re.compile(r"(?<=[.!?])[\"')\]*_]*\s+(?=[\"'(\[*_]*[A-Z0-9`])|(?<=:)\s*$")


class Sentence(NamedTuple):
    """One sentence, and the line of the page that its paragraph begins at."""

    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has; a piece of code is one."""
        return len(re.findall(r"[\w'-]+", self.text))


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, list items, cells of tables and headings, each with its line."""
    begin, lines = 0, list[str]()
    fence = ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[2].startswith(fence) and not mark[3].strip():
                fence = ""
            continue
        new = not line.strip() or mark or re.match(r"\s*(#|\||[-*] |\d+\. |>|:\w+:|: )", line)
        if new and lines:
            yield begin, " ".join(lines)
            lines = []
        if mark:
            fence = (
                mark[2] if mark[2].startswith("`") and not re.match(r"\{(note|tip|warning|important)", mark[3]) else ""
            )
        elif line.lstrip().startswith("|"):
            if not re.fullmatch(r"[\s|:-]+", line):
                yield from ((number, cell.strip()) for cell in re.split(r"(?<!\\)\|", line) if cell.strip())
        elif line.strip():
            begin = begin if lines else number
            lines.append(re.sub(r"^\s*(#+ |[-*] |\d+\. |> )", "", line).strip())


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a page, one after the other."""
    for number, paragraph in paragraphs(text):
        plain = re.sub(r"\{[\w:]+\}(?=`)", "", paragraph)
        plain = re.sub(r"`+[^`]+`+", "Code", plain)
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain)
        for sentence in _END.split(plain):
            if re.search(r"[a-z]{2}", sentence):
                yield Sentence(number, sentence.strip())


def measure(page: Path) -> str:
    """One line about a page."""
    found = list(sentences(page.read_text()))
    counts = [sentence.words for sentence in found] or [0]
    syllables = sum(
        max(1, len(re.findall(r"[aeiouy]+", word.lower())))
        for each in found
        for word in re.findall(r"[A-Za-z]+", each.text)
    )
    words = max(1, sum(counts))
    grade = 0.39 * words / len(counts) + 11.8 * syllables / words - 15.59  # Flesch and Kincaid
    lines = len(page.read_text().splitlines())
    return (
        f"{page.relative_to(ROOT)!s:45} {lines:5} {len(counts):5} {statistics.mean(counts):6.1f} {max(counts):5}"
        f" {sum(count > 35 for count in counts):4} {grade:6.1f}"
    )


if __name__ == "__main__":
    print(f"{'page':45} {'lines':>5} {'sent.':>5} {'mean':>6} {'most':>5} {'>35':>4} {'grade':>6}")
    for each in PAGES:
        print(measure(each))
        for sentence in sentences(each.read_text()):
            if sentence.words > 35:
                print(f"    line {sentence.line}: {sentence.text}")
