"""How measurements are read and shown: what wrk prints, medians, ratios and tables."""

from __future__ import annotations

import pytest

from benchmarks.measured import (
    Load,
    Quantity,
    Record,
    Scenario,
    beside,
    cell,
    comparison,
    groups,
    growing,
    load_of,
    markdown,
    number,
    ratio,
    spread,
)

WRK = """\
Running 1s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms  200.00us   9.00ms   90.00%
  30000 requests in 1.50s, 3.00MB read
RESULT {"requests": 30000, "us": 1500000, "p50": 1020, "p99": 4500, "failed": 3}
"""


def test_what_wrk_prints_is_read() -> None:
    """The last line has everything, with times in microseconds."""
    assert Load(requests=30000, rate=20000.0, p50=1.02, p99=4.5, failed=3) == load_of(WRK)


def test_a_wrk_that_fails_is_shown() -> None:
    """Its own words are the error."""
    with pytest.raises(ValueError, match="unable to connect"):
        load_of("unable to connect to 127.0.0.1:8000 Connection refused\n")


def test_medians_have_their_range() -> None:
    """The range is left out where there is none."""
    assert (2.0, 1.0, 30.0) == spread([30.0, 1.0, 2.0])
    assert ["2.00 (1.00 to 30.0)", "5.00", "-"] == [cell([30.0, 1.0, 2.0]), cell([5.0]), cell([])]


def test_numbers_have_the_digits_that_mean_something() -> None:
    """Thousands have none after the point, and what is nearly nothing has four."""
    assert ["63,800", "25.7", "3.74", "0.00", "0.0012"] == [number(v) for v in (63800.4, 25.71, 3.741, 0.0, 0.0012)]


def test_ratios_are_of_medians() -> None:
    """One that cannot be said is a dash."""
    assert ["1.50", "-", "-"] == [ratio([3.0, 3.0, 100.0], [2.0]), ratio([3.0], [0.0]), ratio([], [2.0])]


def test_a_table_is_markdown() -> None:
    """The first column is text, the others are numbers."""
    assert "| a | b |\n| --- | --: |\n| x | 1 |" == markdown(["a", "b"], [["x", "1"]])


def scenario() -> Scenario:
    """Two contenders, and one that is not there."""
    found = Scenario("hello", [Quantity("requests/s", more=True, compared=True), Quantity("CPU")])
    for rate in (100.0, 200.0, 300.0):
        found.add("ours (pure)", {"requests/s": rate, "CPU": 5.0})
    found.add("other", {"requests/s": 400.0})
    found.absent["third"] = "It is not installed."
    return found


def test_contenders_are_compared() -> None:
    """The best is first, each of ours has a column of ratios, and who is absent is named."""
    assert comparison(scenario(), ["ours (pure)"]).splitlines() == [
        "| hello | requests/s | CPU | ours (pure) / it |",
        "| --- | --: | --: | --: |",
        "| other | 400.0 | - | 0.50 |",
        "| **ours (pure)** | 200.0 (100.0 to 300.0) | 5.00 |  |",
        "",
        "- third: not measured. It is not installed.",
    ]


def test_less_is_better_where_that_is_so() -> None:
    """Then the least is first."""
    found = Scenario("start", [Quantity("seconds", compared=True)])
    found.add("slow", {"seconds": 2.0})
    found.add("fast", {"seconds": 1.0})
    assert ["| fast | 1.00 |", "| slow | 2.00 |"] == comparison(found, []).splitlines()[2:]


def test_primitives_are_beside_the_base() -> None:
    """Its column is the first, and the others have their part of it, but not where nothing is compared."""
    call = Scenario("call", [Quantity("µs", compared=True)])
    lost = Scenario("burst", [Quantity("lost")])
    for one in (call, lost):
        one.add("ours", {one.quantities[0].name: 3.0})
        one.add("uWSGI", {one.quantities[0].name: 2.0})
    assert beside([call, lost], "uWSGI").splitlines()[2:] == [
        "| call, µs | 2.00 | 3.00 = 1.50 x |",
        "| burst, lost | 2.00 | 3.00 |",
    ]


def test_sizes_grow_in_one_table() -> None:
    """By group, and from the smallest on."""
    sizes = [Scenario(f"timers: {size}", [Quantity("µs")], group="timers", size=size) for size in (1000, 1)]
    for one in sizes:
        one.add("ours", {"µs": float(one.size)})
    assert growing(groups(sizes)["timers"]).splitlines() == [
        "| timers | µs, ours |",
        "| --- | --: |",
        "| 1 | 1.00 |",
        "| 1,000 | 1,000 |",
    ]


def test_a_record_is_kept_as_json() -> None:
    """Nothing is lost."""
    record = Record("serving", 3, 2.0, "2026-11-30", {"processor": "p"}, {"trio": "0.35"}, ["ours"], {"a": scenario()})
    assert record == Record.from_json(record.to_json())
