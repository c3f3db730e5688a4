"""docs/reference/glossary.md is in alphabetical order, and complete where that can be checked."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "reference" / "glossary.md").read_text()
ROWS = re.findall(r"^\| ([^|*]+?)(?: \*\((uWSGI|Trio)\)\*)? \| ([^|]+) \|$", PAGE, re.M)[1:]  # the first is the heading
TERMS = [term for term, _, _ in ROWS]


def test_every_row_is_a_term_with_its_meaning() -> None:
    """One line each, and the meaning is a sentence."""
    assert len(ROWS) == len([line for line in PAGE.splitlines() if line.startswith("| ")]) - 1
    assert [] == [term for term, _, meaning in ROWS if not meaning.endswith(".") or not re.match("[A-Z]", meaning)]


def test_terms_are_in_alphabetical_order() -> None:
    """Capitals count as small letters; no term is there twice."""
    assert sorted(set(TERMS), key=str.lower) == TERMS


def test_terms_of_uwsgi_that_users_meet_are_there() -> None:
    """The nouns of its documentation that this project uses."""
    wanted = {"alarm", "cache", "cheap", "cron", "farm", "harakiri", "master", "mercy", "modifier", "mule", "packet"}
    wanted |= {"signal", "spooler", "target", "timer", "vars", "worker", "lazy-apps", "RPC", "fifo", "uwsgi protocol"}
    assert set() == wanted - {term for term, origin, _ in ROWS if origin == "uWSGI"}


def test_a_see_also_names_a_term() -> None:
    """Where a meaning refers to another term without a link."""
    assert set() == {name for _, _, text in ROWS for name in re.findall(r"See (\w+)\.", text)} - set(TERMS)
