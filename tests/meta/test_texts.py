"""Files that docs, docstrings and comments name are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.meta.layout import PACKAGE, ROOT, SOURCES

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def named(text: str) -> Iterator[str]:
    """The Python files of this project that a text names: `_http/session.py`, and also _runtime/{mule,worker}.py."""
    for name in re.findall(r"(?<![\w/.}-])((?:[\w.]+/)*(?:\w+|\{[\w,]+\})\.py)\b", text):
        folder, _, rest = name.rpartition("/")
        for stem in rest.removesuffix(".py").strip("{}").split(","):
            yield f"{folder}/{stem}.py".lstrip("/")


def is_there(name: str, folder: Path) -> bool:
    """Is there such a file, beside the text, or counted from the package, the tests or the root?"""
    return any(
        (base / name).exists() for base in (folder, PACKAGE, ROOT / "tests", ROOT, *ROOT.joinpath("tests").iterdir())
    )


def test_files_that_pages_name_exist() -> None:
    """Also where several are named at once."""
    for page in PAGES:
        missing = [name for name in named(page.read_text()) if not is_there(name, page.parent)]
        assert [] == [name for name in missing if "/" in name and not name.startswith("path/to")], page


def test_files_that_sources_name_exist() -> None:
    """In backticks, as docstrings and comments write them."""
    for path in SOURCES:
        names = re.findall(r"`([\w/.]+\.py)`", path.read_text())
        assert [] == [name for name in names if not (is_there(name, path.parent) or name.startswith("path/to"))], path


def test_the_reading_of_names() -> None:
    """One, several at once, and none."""
    text = "`_http/session.py` and _runtime/{mule,worker}.py, but no python.pypi, and not x.py-thing"
    assert ["_http/session.py", "_runtime/mule.py", "_runtime/worker.py", "x.py"] == list(named(text))
