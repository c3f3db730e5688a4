"""Every code block of README, docs and examples runs, and prints what its page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import LANGUAGES, PAGES, ROOT, blocks_of, commands_of, in_order, prints_as_shown
from tests.docs.runner import PageRun

IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_block_has_a_language(page: Path) -> None:
    """One of those that CONTRIBUTING.md describes, so that none is left out by mistake."""
    assert [] == [
        (block.line, block.language) for block in blocks_of(page.read_text()) if block.language not in LANGUAGES
    ]


@pytest.mark.real
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    """Its files, commands and configurations, in order, in an empty folder."""
    PageRun(page, tmp_path).run()


# ----- the reading of pages


def test_blocks_are_found() -> None:
    """Also inside of directives and lists; a directive is none itself."""
    page = """
```python
x
```
````{note}
```toml
# pyproject.toml
y
```
````
- z

  ```text
  a
    b
  ```
```{toctree}
c
```
"""
    found = list(blocks_of(page))
    assert [(2, "python", "x\n"), (6, "toml", "# pyproject.toml\ny\n"), (13, "text", "a\n  b\n")] == found
    assert [None, "pyproject.toml", None] == [block.file_name for block in found]


def test_commands_are_found() -> None:
    """With what they print; a backslash continues one."""
    text = "$ a \\\n    b\n$ c\nd\ne ...\n"
    assert [("a b", []), ("c", ["d", "e ..."])] == commands_of(text)


@pytest.mark.parametrize(
    ("shown", "printed", "right"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["a ... c"], ["a b c"], True),
        (["a", "...", "c"], ["a", "b", "b", "c"], True),
        (["a", "..."], ["a"], True),
        (["...", "c"], ["a", "b"], False),
    ],
)
def test_what_is_printed_is_compared(shown: list[str], printed: list[str], right: bool) -> None:
    """Three dots stand for what varies."""
    assert right == prints_as_shown(shown, printed)


def test_log_lines_are_looked_for_in_order() -> None:
    """Others may be between them; time stamps are not shown."""
    log = ["12:00 INFO one", "12:00 INFO two 17", "12:00 INFO three"]
    assert [] == in_order(["one", "...", "three"], log)
    assert ["one"] == in_order(["two ...", "one"], log)
