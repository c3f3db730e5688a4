"""The page on performance is that of the recorded numbers."""

from __future__ import annotations

import pytest

from benchmarks.page import COMMANDS, PAGE, PLOTS, marks, packages, plots_of, recorded, section, with_section


def test_the_page_has_a_place_for_each_command() -> None:
    """In the same order."""
    page = PAGE.read_text()
    places = [page.index(mark) for command in COMMANDS for mark in marks(command)]
    assert sorted(places) == places


def test_the_page_is_that_of_the_records() -> None:
    """`python -m benchmarks page` would change no word, and the plots that it shows are there."""
    page = PAGE.read_text()
    for record in recorded():
        plots = plots_of(record.command)
        assert page == with_section(page, record.command, section(record, plots))
        assert [] == [file for file in plots if not (PLOTS / file).exists()]


def test_a_section_is_replaced() -> None:
    """Without touching what is around it."""
    page = "a\n<!-- growth: begin -->\nold\n<!-- growth: end -->\nb"
    assert "a\n<!-- growth: begin -->\n\nnew\n\n<!-- growth: end -->\nb" == with_section(page, "growth", "new")


def test_a_page_without_the_place_is_refused() -> None:
    """Nothing is written at a wrong place."""
    with pytest.raises(ValueError, match="no <!-- memory: begin -->"):
        with_section("nothing", "memory", "new")


def test_the_peers_are_those_of_the_requirements() -> None:
    """Without versions, extras and comments."""
    assert ["granian", "uvicorn"] == packages("# which==1\ngranian==2.8.9\nuvicorn[standard]==0.54.0\n")
