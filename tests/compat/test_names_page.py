"""The page of all names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.compat.names_page import PAGE, page

_DECLARED = re.compile(r"^(?:def|class) (\w+)|^(\w+)(?:: | = )", re.MULTILINE)


def test_the_page_is_up_to_date() -> None:
    """After a change of a docstring, `python -m tests.compat.names_page` writes it anew."""
    assert page() == PAGE.read_text()


def declared_names() -> set[str]:
    """The names that the stubs of `types-uwsgi` declare; a test that needs them is skipped without them."""
    found = [Path(folder, "uwsgi-stubs", "__init__.pyi") for folder in sys.path]
    stub = next((path for path in found if path.exists()), None)
    if stub is None:
        pytest.skip("types-uwsgi is not installed")
    return {name for pair in _DECLARED.findall(stub.read_text()) for name in pair if name and not name.startswith("_")}


def test_every_name_is_on_the_page() -> None:
    """Those that the stubs declare, and those of uWSGI 2.1 that are here."""
    names = declared_names()
    assert 171 <= len(names)
    shown = set(re.findall(r"`(\w+…?)`", PAGE.read_text()))
    families = [name[:-1] for name in shown if name.endswith("…")]
    assert [] == sorted(name for name in {*names, "add_ms_timer"} - shown if not name.startswith(tuple(families)))
