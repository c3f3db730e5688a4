"""The documentation is easy to read: short sentences, short pages, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT
from tests.docs.prose import sentences

IDS = [str(page.relative_to(ROOT)) for page in PAGES]
LONGEST = 35  # words


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_sentences_are_short(page: Path) -> None:
    """A sentence that needs more words is two."""
    found = sentences(page.read_text())
    assert [] == [(sentence.line, sentence.words, sentence.text) for sentence in found if sentence.words > LONGEST]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from titles."""
    titles = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), flags=re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles} | set(
        re.findall(r"^\(([\w-]+)\)=$", page.read_text(), flags=re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link is a file of this repository, and what follows `#` is one of its headings."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert [] == broken


def test_sentences_are_found() -> None:
    """In paragraphs, lists and cells of tables; code is one word, or none at all where it is a block."""
    page = """# A title

One `a b` is
here. Two [is](x.md) there!

- three: it is

| four | is |
|---|---|
```text
No one
```
"""
    found = list(sentences(page))
    assert ["A title", "One Code is here.", "Two is there!", "three: it is", "four", "is"] == [
        each.text for each in found
    ]
    assert [2, 4, 3, 3, 1, 1] == [each.words for each in found]
    assert [1, 3, 3, 6, 8, 8] == [each.line for each in found]
