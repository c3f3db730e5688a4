"""The rules of the spooler: names, order, the index of known jobs, retries."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._spool.rules import (
    Entry,
    JobName,
    Retry,
    SpoolCounts,
    SpoolIndex,
    first_names,
    is_job,
    make_name,
    order,
    parse_name,
    priority,
)

pytestmark = pytest.mark.pure

RECORDED = "uwsgi_spoolfile_on_vm_20890_1_1463656111_1795327801_228726"


def job(number: int, folder: str = "") -> str:
    """The name of a job that was spooled at this second."""
    return f"{folder}uwsgi_spoolfile_on_vm_1_1_77_{number}_0"


def filled(*jobs: tuple[str, float], capacity: int = 100, now: float = 0) -> SpoolIndex:
    """An index that knows these, with when they are due."""
    index = SpoolIndex(capacity)
    for name, due in jobs:
        index.notice(name, due, now)
    return index


def popped(index: SpoolIndex, now: float) -> list[str]:
    """The names of all that are due, in their order."""
    names = []
    while entry := index.pop(now):
        names.append(entry.name)
    return names


# ----- names


def test_a_recorded_name() -> None:
    """The name of a real uWSGI's file tells who wrote it and when, and can be made again."""
    expected = JobName("vm", 20890, 1, 1463656111, 1795327801, 228726)
    assert expected == parse_name(RECORDED)
    assert RECORDED == str(expected)
    assert RECORDED == make_name("vm", (20890, 1), 1463656111, 1795327801.228726)


@given(st.text(st.characters(exclude_characters="/\0"), max_size=100), st.integers(0, 10**7))
def test_names_go_round(host: str, micro: int) -> None:
    """Whatever a machine is called."""
    name = make_name(host, (3, 4), 5, micro / 1_000_000)
    assert JobName(host, 3, 4, 5, micro // 1_000_000, micro % 1_000_000) == parse_name(name)


def test_a_host_cannot_lead_elsewhere() -> None:
    """A slash in its name is none in the file's, and a very long one fits."""
    assert "uwsgi_spoolfile_on_..-x_1_2_3_4_0" == make_name("../x", (1, 2), 3, 4.0)
    assert 255 >= len(make_name("h" * 300, (2**22, 2**63), 2**31, 2e9))


@pytest.mark.parametrize(
    "name",
    [
        "other",
        "uwsgi_spoolfile_on_",
        "uwsgi_spoolfile_on_1_2_3_4_5",
        "uwsgi_spoolfile_on_vm_1_2_3_4",
        "uwsgi_spoolfile_on_vm_1_2_x_4_5",
        "uwsgi_spoolfile_on_vm_1_2_\u00b2_4_5",
        "uwsgi_spoolfile_on_\udcff\udcfe",
    ],
)
def test_other_names(name: str) -> None:
    """They tell nothing; with the prefix they are jobs nevertheless."""
    assert parse_name(name) is None
    assert name.startswith("uwsgi") == is_job(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (RECORDED, True),
        (f"5/{RECORDED}", True),
        (f"007/{RECORDED}", True),
        (f"dead/{RECORDED}", False),
        (f"../{RECORDED}", False),
        (f"5/../{RECORDED}", False),
        (f"/{RECORDED}", False),
        ("5/other", False),
        ("", False),
    ],
)
def test_names_from_outside(name: str, expected: bool) -> None:
    """What is a job's name leads to nothing outside of the directory."""
    assert expected == is_job(name)


def test_priorities() -> None:
    """The priority is the directory."""
    assert (5, 7, None) == (priority(job(1, "5/")), priority(job(1, "007/")), priority(job(1)))


# ----- order


def test_the_order() -> None:
    """By priority, then first in, first out; odd names come last, by name."""
    expected = [
        "0/uwsgi_spoolfile_on_z_1_1_9_9_9",
        "2/uwsgi_spoolfile_on_z_1_1_9_1_0",
        "2/uwsgi_spoolfile_on_\udcff",
        "10/uwsgi_spoolfile_on_z_1_1_9_1_0",
        "uwsgi_spoolfile_on_z_9_9_9_1_0",
        "uwsgi_spoolfile_on_a_9_9_9_1_5",
        "uwsgi_spoolfile_on_b_1_2_9_1_10",
        "uwsgi_spoolfile_on_a_1_10_9_1_10",
        "uwsgi_spoolfile_on_a_1_1_9_10_0",
        "uwsgi_spoolfile_on_",
        "uwsgi_spoolfile_on_a_b",
        "uwsgi_spoolfile_on_\udcff\udcfe",
    ]
    shuffled = random.Random(4).sample(expected, len(expected))
    assert expected == sorted(shuffled, key=order)


@given(
    st.lists(
        st.builds(
            "{}uwsgi_spoolfile_on_{}".format,
            st.sampled_from(["", "", "", "3/", "0/"]),
            st.one_of(st.integers(0, 999).map("h_1_1_1_{}_0".format), st.sampled_from(["odd", "x_y_z", "a_1_b"])),
        ),
        max_size=600,
    ),
    st.sampled_from([0, 1, 5, 1000]),
)
def test_the_first_names_are_found_without_holding_all(names: list[str], many: int) -> None:
    """It is what sorting all of them would give."""
    assert (sorted(names, key=order)[:many], len(names)) == first_names(iter(names), many)


@pytest.mark.parametrize("begin", [[job(0, "5/")] * 400, [f"{job(0)}.odd"] * 400, [job(n) for n in range(400)]])
def test_the_first_names_of_many(begin: list[str]) -> None:
    """Whatever the last of those that are held is: one with a priority, an odd one, or a plain one."""
    names = [*begin, *(job(n) for n in range(900, 300, -1)), "uwsgi_spoolfile_on_x", "1/uwsgi_spoolfile_on_", job(1)]
    assert (sorted(names, key=order)[:3], len(names)) == first_names(names, 3)


# ----- the index


def test_jobs_come_in_order_and_once() -> None:
    """However often, and in whatever order, they are noticed."""
    index = filled((job(3), 0), (job(1), 0), (job(2, "5/"), 0), (job(1), 0))
    assert "<SpoolIndex 3 ready, 0 delayed, 0 taken>" == repr(index)
    assert [job(2, "5/"), job(1), job(3)] == popped(index, 0)
    assert SpoolCounts(0, 0, 3, None, True) == index.statistics(0)


def test_a_job_comes_when_it_is_due() -> None:
    """At that instant, and not before."""
    index = filled((job(1), 10), (job(2), 5))
    assert 5 == index.next_due(4.9)
    assert index.pop(4.9) is None
    assert [0, 1] == [index.due(now) for now in (4.9, 5)]
    assert [job(2)] == popped(index, 5)
    assert 0 == index.due(5)
    assert 10 == index.next_due(5)
    assert 10 == index.next_due(10)
    assert 1 == index.due(10)
    assert [job(1)] == popped(index, 10)
    assert index.next_due(10) is None


def test_a_job_that_is_taken_is_not_given_twice() -> None:
    """Also if it is noticed meanwhile, until it is put back; forgotten ones can come again."""
    index = filled((job(1), 0))
    entry = index.pop(0)
    assert Entry(order(job(1)), job(1), 0) == entry
    index.notice(job(1), 0, 0)
    assert index.pop(0) is None
    index.forget(job(1))
    index.notice(job(1), 0, 0)
    assert [job(1)] == popped(index, 0)


@pytest.mark.parametrize(("noticed", "expected"), [(None, 60), (30, 30), (90, 60)])
def test_put_back(noticed: float | None, expected: float) -> None:
    """It is due when it is said to be, or earlier if somebody noticed that it is while it was taken."""
    index = filled((job(1), 0))
    entry = index.pop(0)
    assert entry is not None
    if noticed is not None:
        index.notice(job(1), noticed, 1)
    index.put_back(entry, 60)
    assert SpoolCounts(0, 1, 0, None, True) == index.statistics(2)
    assert expected == index.next_due(2)
    again = index.pop(expected)
    assert entry._replace(due=expected) == again


def test_a_job_may_change_its_mind() -> None:
    """Whoever touches its file makes it due earlier or later."""
    index = filled((job(1), 100), (job(2), 0))
    index.notice(job(1), 0, 1)
    index.notice(job(2), 50, 1)
    assert [job(1)] == popped(index, 1)
    assert 50 == index.next_due(1)
    index.notice(job(2), 70, 1)
    assert 70 == index.next_due(1)
    index.forget(job(2))
    assert index.next_due(1) is None


def test_the_oldest_is_what_could_have_run_for_the_longest_time() -> None:
    """Not what was spooled first."""
    index = filled((job(1), 90), (job(2, "5/"), 40), now=100)
    index.notice(job(3), 130, 100)
    assert SpoolCounts(2, 1, 0, 60, True) == index.statistics(100)
    assert SpoolCounts(3, 0, 0, 90, True) == index.statistics(130)


def test_more_jobs_than_memory() -> None:
    """The first ones are kept, what comes behind them is left to the disk, and a scan is wanted when few are left."""
    names = [job(number) for number in range(100)]
    index = SpoolIndex(8)
    for name in random.Random(1).sample(names, len(names)):
        index.notice(name, 0, 0)
    counts = index.statistics(0)
    assert 8 <= counts.waiting <= 12
    assert (False, True, False) == (counts.complete, index.incomplete, index.wants_scan)
    assert repr(index).endswith("and more on the disk>")
    seen: list[str] = []
    while True:
        entry = index.pop(0)
        if entry is None:
            assert not index.incomplete
            break
        seen.append(entry.name)
        index.forget(entry.name)
        if index.wants_scan:
            index.begin_scan()
            for name in names:
                if name not in seen:
                    index.notice(name, 0, 0)
            index.end_scan()
    assert names == seen


def test_more_delayed_jobs_than_memory() -> None:
    """Those that are due first are kept."""
    index = SpoolIndex(4)
    for number in range(100, 0, -1):
        index.notice(job(number), number, 0)
    counts = index.statistics(0)
    assert 4 <= counts.delayed <= 6
    assert (False, False) == (counts.complete, index.wants_scan)
    assert 1 == index.next_due(0)
    index.notice(job(500), 500, 0)
    assert counts == index.statistics(0)
    assert [job(number) for number in range(1, counts.delayed + 1)] == popped(index, 99)
    assert index.wants_scan


def test_a_delayed_job_stays_behind_those_on_the_disk() -> None:
    """When it is due and others that come before it are not known any more, it is left to the disk too."""
    index = filled(*((job(number), 0) for number in range(4)), capacity=2)
    index.notice(job(99), 10, 0)
    assert [job(0), job(1)] == popped(index, 10)
    assert SpoolCounts(0, 0, 2, None, False) == index.statistics(10)


def test_a_scan_may_leave_out_what_is_there() -> None:
    """Such a job is as before."""
    index = SpoolIndex()
    index.notice("a", 5, 0)
    index.begin_scan()
    index.still_there("a")
    index.still_there("b")
    index.end_scan()
    assert 5 == index.next_due(0)


def test_a_scan_finds_out_what_is_gone() -> None:
    """What it does not come to is forgotten, but for what was taken or put back meanwhile."""
    index = filled((job(1), 0), (job(2), 0), (job(3), 9), (job(4), 9))
    index.begin_scan()
    taken = index.pop(0)
    assert taken is not None
    assert job(1) == taken.name
    index.notice(job(4), 9, 0)
    index.end_scan()
    assert SpoolCounts(0, 1, 1, None, True) == index.statistics(0)
    index.put_back(taken, 0)
    assert [job(1)] == popped(index, 0)


def test_what_changes_all_the_time_takes_no_memory() -> None:
    """The heaps are cleaned of what was replaced."""
    index = SpoolIndex()
    for number in range(1000):
        index.notice(job(1), number / 1000, 5)
        index.notice(job(2), 10 + number, 5)
    assert 200 > len(index._ready_heap) + len(index._delayed_heap)
    assert [job(1), job(2)] == popped(index, 2000)


# ----- retries


@pytest.mark.parametrize(
    ("tries", "jitter", "expected"),
    [(0, 0, 5), (1, 0, 5), (2, 0, 10), (3, 0, 20), (3, 0.5, 22.5), (4, 0, 30), (9, 0, 30), (9, 0.999, 37.4925)],
)
def test_delays(tries: int, jitter: float, expected: float) -> None:
    """They double up to the longest one, and chance adds up to a quarter."""
    assert expected == Retry(10, 5, 30).delay_after(tries, jitter)


def test_the_last_try() -> None:
    """After so many there is no delay; 0 is for ever, and does not overflow."""
    assert Retry(10, 5, 30).delay_after(10, 0) is None
    assert Retry(1, 5, 30).delay_after(1, 0) is None
    assert 30 == Retry(0, 5, 30).delay_after(10**9, 0)
