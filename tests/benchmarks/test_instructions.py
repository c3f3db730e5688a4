"""Counts of instructions: what valgrind prints, the comparison with the committed figures, and the file of these."""

from __future__ import annotations

import tomllib

import pytest

from benchmarks.instructions import FILE, dearer, of_one_request, table, totals_of, with_figures

VALGRIND = """\
==10== Cachegrind, a cache and branch-prediction profiler
==10== Command: python -m benchmarks.counted
==11== I   refs:      1,600,000,000
==12== I   refs:      1,700,000,000
==10== I   refs:      1,500,000,000
"""


def test_the_counts_of_valgrind_are_read() -> None:
    """Each process has its own; that of the process which started them is not asked for."""
    assert {"asgi=50": 1_600_000_000, "asgi=100": 1_700_000_000} == totals_of("asgi=50 11\nasgi=100 12\n", VALGRIND)


def test_a_request_is_what_twice_as_many_cost_more() -> None:
    """So imports and the start are not in it."""
    totals = {
        f"{kind}={rounds}": 10**9 + rounds * 16 * 1000 for kind in ("asgi", "inline", "log") for rounds in (50, 100)
    }
    assert {"asgi": 1000, "inline": 1000, "log": 1000} == of_one_request(totals)


@pytest.mark.parametrize(("now", "complains"), [(90_000, False), (105_000, False), (105_001, True)])
def test_five_percent_more_is_refused(now: int, complains: bool) -> None:
    """Less is always welcome."""
    assert complains == bool(dearer({"asgi": now}, {"asgi": 100_000}))


def test_the_complaint_says_which_request_and_how_much() -> None:
    """As a sentence, with both numbers."""
    assert [
        "A request of WSGI without a thread needs 120,000 instructions, 20.0% more than the committed 100,000."
    ] == dearer({"asgi": 1, "inline": 120_000}, {"asgi": 1, "inline": 100_000})


def test_figures_without_a_counterpart_are_not_compared() -> None:
    """Neither a kind that is new, nor one that is gone."""
    assert [] == dearer({"new": 5}, {"old": 1})
    assert table({"new": 5_000}, {}).splitlines()[1].split() == ["new", "5,000", "-"]


def test_the_table_shows_the_change() -> None:
    """In percent of the committed figure."""
    assert ["ASGI", "95", "100", "-5.0%"] == table({"asgi": 95}, {"asgi": 100}).splitlines()[1].split()


def test_figures_are_added_and_replaced() -> None:
    """Those of other interpreters, and the comment above all, stay as they are."""
    text = with_figures('# Why.\n\n["b"]\nasgi = 1\n', "a", {"asgi": 2_000, "trio": "0.35"})
    assert '# Why.\n\n["a"]\nasgi = 2_000\ntrio = "0.35"\n\n["b"]\nasgi = 1\n' == text
    assert {"a": {"asgi": 3}, "b": {"asgi": 1}} == tomllib.loads(with_figures(text, "a", {"asgi": 3}))


def test_the_committed_figures_are_complete() -> None:
    """Each interpreter has all kinds, and the versions of what else runs."""
    for figures in tomllib.loads(FILE.read_text()).values():
        assert {"asgi", "inline", "log", "trio", "httptools"} == figures.keys()
