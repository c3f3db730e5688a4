"""When crons fire: uWSGI's integers, crontab strings, and both across changes of a zone's offset."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_uwsgi.config.cron import CronSpec, CrontabSpec, Spec, next_fire
from trio_uwsgi.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

pytestmark = pytest.mark.pure

ROME = ZoneInfo("Europe/Rome")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of DST
KOLKATA = ZoneInfo("Asia/Kolkata")  # +05:30, no DST

# uWSGI 2.0.31, in local time: minute, hour, day, month, week.
UWSGI_VECTORS = [
    ("2026-11-22 06:15", (-5, -1, -1, -1, -1), True),
    ("2026-11-22 06:16", (-5, -1, -1, -1, -1), False),
    ("2026-11-22 06:00", (0, -5, -1, -1, -1), False),
    ("2026-11-22 10:00", (0, -5, -1, -1, -1), True),
    ("2026-11-22 00:00", (0, -5, -1, -1, -1), True),
    ("2026-11-22 06:00", (0, 6, -2, -1, -1), True),
    ("2026-11-23 06:00", (0, 6, -2, -1, -1), False),
    ("2026-11-22 06:00", (0, 6, -1, -3, -1), False),
    ("2026-12-22 06:00", (0, 6, -1, -3, -1), True),
    ("2026-11-22 06:00", (0, 6, -1, -1, 0), True),
    ("2026-11-22 06:00", (0, 6, -1, -1, 7), True),
    ("2026-11-22 06:00", (0, 6, 1, -1, 0), True),
    ("2026-11-01 06:00", (0, 6, 1, -1, 3), True),
    ("2026-11-25 06:00", (0, 6, 1, -1, 3), True),
    ("2026-11-25 06:00", (0, 6, 1, -1, -1), False),
    ("2026-11-24 06:00", (0, 6, -1, -1, -2), True),
    ("2026-11-23 06:00", (0, 6, -1, -1, -2), False),
    ("2026-11-28 06:00", (0, 6, -1, -1, -7), False),
    ("2026-11-22 06:00", (0, 6, -1, -1, -7), True),
]


def fires(spec: Spec, zone: tzinfo | None, after: str, until: str) -> list[str]:
    """Local times with offsets at which the cron fires, later than the minute `after` and before `until`."""
    wall = datetime.fromisoformat(after).replace(tzinfo=zone).timestamp()
    end = datetime.fromisoformat(until).replace(tzinfo=zone).timestamp()
    found = []
    while (wall := next_fire(spec, wall, zone)) < end:
        found.append(datetime.fromtimestamp(wall, zone).astimezone(zone).isoformat(" ", "minutes")[5:])
    return found


@pytest.mark.parametrize(("local", "fields", "expected"), UWSGI_VECTORS)
def test_uwsgi_vectors(local: str, fields: tuple[int, int, int, int, int], expected: bool) -> None:
    """The five integers match the minutes that uWSGI matches."""
    assert expected is CronSpec(*fields).matches(datetime.fromisoformat(local))


@pytest.mark.parametrize(("local", "fields", "expected"), UWSGI_VECTORS)
def test_search_agrees_with_matching(local: str, fields: tuple[int, int, int, int, int], expected: bool) -> None:
    """The search stops at a minute exactly if it matches."""
    minute = datetime.fromisoformat(local)
    assert expected is (CronSpec(*fields).next_local(minute - timedelta(minutes=1)) == minute)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            (60, -1, -1, -1, -1),
            "cron minute 60 matches no time, so it would never run; give 0 to 59, or a negative number",
        ),
        (
            (0, 24, -1, -1, -1),
            "cron hour 24 matches no time, so it would never run; give 0 to 23, or a negative number",
        ),
        ((0, 0, 0, -1, -1), "cron day 0 matches no time, so it would never run; give 1 to 31, or -1 to -31"),
        ((0, 0, 32, -1, -1), "cron day 32 matches no time"),
        ((0, 0, -32, -1, -1), "cron day -32 matches no time"),
        ((0, 0, -1, 0, -1), "cron month 0 matches no time, so it would never run; give 1 to 12, or -1 to -12"),
        ((0, 0, -1, 13, -1), "cron month 13 matches no time"),
        ((0, 0, -1, -13, -1), "cron month -13 matches no time"),
        ((0, 0, -1, -1, 8), "cron week 8 matches no time, so it would never run; give 0 to 7, or a negative number"),
        ((99, 99, 99, 99, 99), "cron minute 99 matches no time"),
        (
            (0, 0, 31, 2, -1),
            "cron day 31 of month 2 matches no date, so it would never run; give a day that this month has",
        ),
        ((0, 0, 30, 2, -7), "cron day 30 of month 2 matches no date"),
        ((0, 0, 31, 4, -1), "cron day 31 of month 4 matches no date"),
        ((0, 0, -31, 6, 1), "cron day -31 of month 6 matches no date"),
    ],
)
def test_integers_that_never_match_are_refused(fields: tuple[int, int, int, int, int], text: str) -> None:
    """A cron that could never run is an error that says what is allowed."""
    with pytest.raises(RegistrationError, match=text):
        CronSpec(*fields)


@pytest.mark.parametrize("value", [True, 5.0, "5", None])
def test_only_ints_are_integers(value: object) -> None:
    """What is not an int is refused, bool included."""
    with pytest.raises(RegistrationError, match=r"cron minute .* is not an int; give 0 to 59, or a negative number"):
        CronSpec(value, -1, -1, -1, -1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((-61, -25, -1, -1, -8), "2026-11-29 00:00"),  # only 0 is divided: midnight of Sundays
        ((0, 0, 31, 2, 1), "2027-02-01 00:00"),  # the day never comes, but one of the two is enough
        ((0, 0, -31, -1, -1), "2026-12-31 00:00"),
        ((0, 0, 31, -4, -1), "2026-12-31 00:00"),
        ((0, 0, 31, -5, -1), "2027-05-31 00:00"),
        ((0, 0, 29, 2, -1), "2028-02-29 00:00"),
        ((0, 0, 29, 2, -7), "2032-02-29 00:00"),  # a Sunday
        ((59, 23, 31, 12, -1), "2026-12-31 23:59"),
        ((-1, 6, 22, 11, -1), "2026-11-22 06:16"),
        ((15, 6, 22, 11, -1), "2027-11-22 06:15"),
    ],
)
def test_rare_dates_are_found(fields: tuple[int, int, int, int, int], expected: str) -> None:
    """A match may be years away."""
    after = datetime(2026, 11, 22, 6, 15)
    assert datetime.fromisoformat(expected) == CronSpec(*fields).next_local(after)


def test_a_date_of_once_in_forty_years_is_found() -> None:
    """From 2088 the next 29 February that is a Sunday is in 2128, because 2100 is no leap year."""
    assert datetime(2128, 2, 29) == CronSpec(0, 0, 29, 2, -7).next_local(datetime(2088, 3, 1))


def test_the_far_search_is_quick() -> None:
    """29 February is found by day and month, not by minute."""
    spec, after = CronSpec(0, 0, 29, 2, -1), datetime(2028, 3, 1, tzinfo=UTC).timestamp()
    began = time.perf_counter()
    for _ in range(20):
        next_fire(spec, after, UTC)
    assert time.perf_counter() - began < 20 * 0.01  # 0.1 ms each where this was written; by minute it would be a second


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has 0 fields"),
        ("* * * *", "it has 4 fields"),
        ("* * * * * *", "it has 6 fields"),
        ("@daily", "it has 1 field"),
        ("61 * * * *", "Bad minute"),
        ("* * * * FOO", "Bad day-of-week"),
        ("*/0 * * * *", "Bad minute"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("0 0 */30 2 MON#5", "it matches no date"),  # the 1st is no fifth Monday, and there is no 31st
    ],
)
def test_bad_crontabs_are_refused(text: str, reason: str) -> None:
    """The error quotes the string, says what is wrong with it and shows a good one."""
    with pytest.raises(RegistrationError) as caught:
        CrontabSpec(text)
    assert (
        f"crontab {text!r} cannot be used: {reason}; "
        "give five fields, as in '*/5 8-18 * * MON-FRI': minute, hour, day, month, day of the week"
    ) == str(caught.value)


def test_a_fire_is_in_a_later_minute() -> None:
    """The minute of the call does not count, whether it has just begun or is all but over."""
    spec, minute = CronSpec(-1, -1, -1, -1, -1), datetime(2026, 11, 22, 6, 15, tzinfo=UTC).timestamp()
    assert [minute + 60] * 3 == [next_fire(spec, minute + second, UTC) for second in (0.0, 30.5, 59.9999998)]


# ----- changes of offset

FIVE = [CronSpec(-5, -1, -1, -1, -1), CrontabSpec("*/5 * * * *")]
EVERY_30 = [CronSpec(-30, -1, -1, -1, -1), CrontabSpec("*/30 * * * *")]
AT_0230 = [CronSpec(30, 2, -1, -1, -1), CrontabSpec("30 2 * * *")]
AT_0300 = [CronSpec(0, 3, -1, -1, -1), CrontabSpec("0 3 * * *")]
AT_0130 = [CronSpec(30, 1, -1, -1, -1), CrontabSpec("30 1 * * *")]
AT_0145 = [CronSpec(45, 1, -1, -1, -1), CrontabSpec("45 1 * * *")]
AT_0215 = [CronSpec(15, 2, -1, -1, -1), CrontabSpec("15 2 * * *")]
HOURLY_20 = [CronSpec(20, -1, -1, -1, -1), CrontabSpec("20 * * * *")]
HALVES_OF_2 = [CronSpec(-30, 2, -1, -1, -1), CrontabSpec("*/30 2 * * *")]
MONDAYS_AT_3 = [CronSpec(0, 3, -1, -1, 1), CrontabSpec("0 3 * * 1")]

CHANGES = [
    # Rome, 29 March 2026: 02:00 CET becomes 03:00 CEST.
    (AT_0230, ROME, "2026-03-28 12:00", "2026-03-30 12:00", ["03-29 03:00+02:00", "03-30 02:30+02:00"]),
    (AT_0300, ROME, "2026-03-28 12:00", "2026-03-30 12:00", ["03-29 03:00+02:00", "03-30 03:00+02:00"]),
    (
        EVERY_30,
        ROME,
        "2026-03-29 01:00",
        "2026-03-29 04:00",
        ["03-29 01:30+01:00", "03-29 03:00+02:00", "03-29 03:30+02:00"],
    ),
    (HOURLY_20, ROME, "2026-03-29 01:00", "2026-03-29 04:00", ["03-29 01:20+01:00", "03-29 03:20+02:00"]),
    (HALVES_OF_2, ROME, "2026-03-29 01:00", "2026-03-30 02:10", ["03-30 02:00+02:00"]),
    # Rome, 25 October 2026: 03:00 CEST becomes 02:00 CET.
    (AT_0230, ROME, "2026-10-24 12:00", "2026-10-26 12:00", ["10-25 02:30+02:00", "10-26 02:30+01:00"]),
    (
        EVERY_30,
        ROME,
        "2026-10-25 01:30",
        "2026-10-25 03:30",
        ["10-25 02:00+02:00", "10-25 02:30+02:00", "10-25 02:00+01:00", "10-25 02:30+01:00", "10-25 03:00+01:00"],
    ),
    (HOURLY_20, ROME, "2026-10-25 02:00", "2026-10-25 03:00", ["10-25 02:20+02:00", "10-25 02:20+01:00"]),
    (
        HALVES_OF_2,
        ROME,
        "2026-10-25 01:00",
        "2026-10-26 01:00",
        ["10-25 02:00+02:00", "10-25 02:30+02:00", "10-25 02:00+01:00", "10-25 02:30+01:00"],
    ),
    # New York, 8 March and 1 November 2026.
    (AT_0230, NEW_YORK, "2026-03-07 12:00", "2026-03-09 12:00", ["03-08 03:00-04:00", "03-09 02:30-04:00"]),
    (AT_0130, NEW_YORK, "2026-10-31 12:00", "2026-11-02 12:00", ["11-01 01:30-04:00", "11-02 01:30-05:00"]),
    (
        EVERY_30,
        NEW_YORK,
        "2026-11-01 00:30",
        "2026-11-01 02:30",
        ["11-01 01:00-04:00", "11-01 01:30-04:00", "11-01 01:00-05:00", "11-01 01:30-05:00", "11-01 02:00-05:00"],
    ),
    # Lord Howe, 5 April 2026: 02:00 becomes 01:30; 4 October: 02:00 becomes 02:30.
    (AT_0145, LORD_HOWE, "2026-04-04 12:00", "2026-04-06 12:00", ["04-05 01:45+11:00", "04-06 01:45+10:30"]),
    (
        EVERY_30,
        LORD_HOWE,
        "2026-04-05 01:00",
        "2026-04-05 02:30",
        ["04-05 01:30+11:00", "04-05 01:30+10:30", "04-05 02:00+10:30"],
    ),
    (HOURLY_20, LORD_HOWE, "2026-04-05 01:00", "2026-04-05 02:30", ["04-05 01:20+11:00", "04-05 02:20+10:30"]),
    (AT_0215, LORD_HOWE, "2026-10-03 12:00", "2026-10-05 12:00", ["10-04 02:30+11:00", "10-05 02:15+11:00"]),
    (
        EVERY_30,
        LORD_HOWE,
        "2026-10-04 01:00",
        "2026-10-04 03:30",
        ["10-04 01:30+10:30", "10-04 02:30+11:00", "10-04 03:00+11:00"],
    ),
    (HOURLY_20, LORD_HOWE, "2026-10-04 01:00", "2026-10-04 03:30", ["10-04 01:20+10:30", "10-04 03:20+11:00"]),
    # No changes at all, and an offset that is no whole hour.
    (AT_0230, UTC, "2026-03-28 12:00", "2026-03-30 12:00", ["03-29 02:30+00:00", "03-30 02:30+00:00"]),
    (EVERY_30, KOLKATA, "2026-03-29 01:00", "2026-03-29 02:30", ["03-29 01:30+05:30", "03-29 02:00+05:30"]),
    (AT_0215, timezone(timedelta(hours=5, minutes=45)), "2026-03-29 01:00", "2026-03-30 01:00", ["03-29 02:15+05:45"]),
]


@pytest.mark.parametrize("kind", [0, 1], ids=["integers", "crontab"])
@pytest.mark.parametrize(("specs", "zone", "after", "until", "expected"), CHANGES)
def test_changes_of_offset(
    specs: list[Spec], zone: tzinfo, after: str, until: str, expected: list[str], kind: int
) -> None:
    """A named time runs once a day through both changes; any other job follows the minutes that pass."""
    assert expected == fires(specs[kind], zone, after, until)


@pytest.mark.parametrize("kind", [0, 1], ids=["integers", "crontab"])
@pytest.mark.parametrize(("specs", "zone", "after", "until", "expected"), CHANGES)
def test_changes_of_offset_in_the_system_zone(
    monkeypatch: pytest.MonkeyPatch,
    specs: list[Spec],
    zone: tzinfo,
    after: str,
    until: str,
    expected: list[str],
    kind: int,
) -> None:
    """Without a zone the system's own is followed, with the same answers."""
    monkeypatch.setenv("TZ", zone.key if isinstance(zone, ZoneInfo) else "<+0545>-5:45" if zone is not UTC else "UTC")
    time.tzset()
    try:
        assert expected == fires(specs[kind], None, after, until)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("spec", AT_0230)
def test_start_within_the_repeated_hour(spec: Spec) -> None:
    """In the second pass of a repeated hour a named time of that hour has run: the next one is tomorrow."""
    second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=ROME, fold=1).timestamp()
    fired = datetime.fromtimestamp(next_fire(spec, second_pass, ROME), ROME)
    assert "2026-10-26T02:30:00+01:00" == fired.isoformat()


def test_behind_the_repeated_hour() -> None:
    """In the second pass, a named time behind the repeated hour is still to come on that day."""
    second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=ROME, fold=1).timestamp()
    fired = datetime.fromtimestamp(next_fire(CrontabSpec("30 2,3 * * *"), second_pass, ROME), ROME)
    assert "2026-10-25T03:30:00+01:00" == fired.isoformat()


def test_skipped_times_run_once_together() -> None:
    """Several named times in one gap make one run, also if the minute behind the gap is named itself."""
    spec = CrontabSpec("0,15,30 2,3 * * *")
    expected = ["03-29 03:00+02:00", "03-29 03:15+02:00", "03-29 03:30+02:00"]
    assert expected == fires(spec, ROME, "2026-03-28 12:00", "2026-03-29 12:00")


def test_a_gap_at_midnight() -> None:
    """Where the day begins at 01:00, midnight's cron runs then, and the day of its date is kept."""
    spec = CronSpec(0, 0, 8, 3, -1)
    assert ["03-08 01:00-04:00"] == fires(spec, ZoneInfo("America/Havana"), "2026-03-01 00:00", "2026-12-31 00:00")


def test_a_day_that_is_skipped() -> None:
    """Samoa had no 30 December 2011: named times of that day ran once when the 31st began, others not at all."""
    apia = ZoneInfo("Pacific/Apia")
    assert ["12-31 00:00+14:00"] == fires(CronSpec(0, 12, 30, 12, -1), apia, "2011-12-29 12:00", "2012-01-02 00:00")
    assert [] == fires(CronSpec(-30, -1, 30, 12, -1), apia, "2011-12-29 12:00", "2012-01-02 00:00")


@pytest.mark.parametrize("spec", MONDAYS_AT_3)
def test_a_year_of_mondays(spec: Spec) -> None:
    """A weekly cron fires at its local hour on each Monday of a year, through both changes."""
    found = fires(spec, ROME, "2026-01-01 00:00", "2027-01-01 00:00")
    assert 52 == len(found)
    assert {"03:00+01:00", "03:00+02:00"} == {when[6:] for when in found}
    assert ["03-30 03:00+02:00", "10-19 03:00+02:00", "10-26 03:00+01:00"] == [found[12], found[41], found[42]]


# ----- against exhaustive search

FIELDS = st.tuples(
    st.one_of(st.integers(0, 59), st.integers(-60, -1)),
    st.one_of(st.integers(0, 4), st.integers(-6, -1)),
    st.one_of(st.just(-1), st.integers(1, 31), st.integers(-5, -1)),
    st.one_of(st.just(-1), st.integers(3, 4), st.integers(10, 11), st.just(-2)),
    st.one_of(st.just(-1), st.integers(0, 7), st.integers(-3, -1)),
)
WINDOWS = [
    (ROME, datetime(2026, 3, 28, 21, tzinfo=UTC)),
    (ROME, datetime(2026, 10, 24, 21, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 3, 8, 3, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 11, 1, 2, tzinfo=UTC)),
    (LORD_HOWE, datetime(2026, 4, 4, 11, tzinfo=UTC)),
    (LORD_HOWE, datetime(2026, 10, 3, 11, tzinfo=UTC)),
]


@cache
def passing_minutes(window: int) -> list[tuple[float, datetime]]:
    """The minutes of twelve hours around a change: when each is, and what the local clock says."""
    zone, start = WINDOWS[window]
    instants = [(start + timedelta(minutes=minute)).timestamp() for minute in range(12 * 60)]
    return [(instant, datetime.fromtimestamp(instant, zone)) for instant in instants]


def by_looking(spec: CronSpec, window: int) -> Iterator[float]:
    """Fires within the window, found without a search: look at each minute that passes and at each that was skipped."""
    seen: set[datetime] = set()
    for (_, before), (instant, local) in pairwise(passing_minutes(window)):
        here = local.replace(tzinfo=None, fold=0)
        skipped, missed = before.replace(tzinfo=None, fold=0) + timedelta(minutes=1), False
        while skipped < here:
            missed |= spec.matches(skipped)
            skipped += timedelta(minutes=1)
        if spec.fixed:
            if missed or (spec.matches(here) and here not in seen):
                yield instant
            seen.add(here)
        elif spec.matches(here):
            yield instant


@given(fields=FIELDS, window=st.integers(0, len(WINDOWS) - 1), first=st.integers(0, 12 * 60 - 2))
@settings(derandomize=True, max_examples=120, deadline=None)
def test_search_finds_what_looking_finds(fields: tuple[int, int, int, int, int], window: int, first: int) -> None:
    """Around each change, from any minute on, the next fire is the first of those an exhaustive search finds."""
    try:
        spec = CronSpec(*fields)
    except RegistrationError:
        return
    minutes, zone = passing_minutes(window), WINDOWS[window][0]
    after = minutes[first][0]
    found = next_fire(spec, after + 59.5, zone)
    expected = next((fire for fire in by_looking(spec, window) if fire > after), None)
    assert expected == (found if found <= minutes[-1][0] else None)


@given(
    st.one_of(
        st.text("0123456789*/-,L#W MONFEB", max_size=20),
        st.lists(st.text("0123456789*/-,L#W", min_size=1, max_size=4), min_size=5, max_size=5).map(" ".join),
    )
)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_text_is_a_crontab_or_refused(text: str) -> None:
    """Whatever the string is, it is either refused or has a next time."""
    try:
        spec = CrontabSpec(text)
    except RegistrationError:
        return
    assert next_fire(spec, 1_800_000_000.0, ROME) > 1_800_000_000.0
