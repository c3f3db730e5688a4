"""Target strings: what they mean, and which ones no runtime could meet."""

from __future__ import annotations

from typing import Any

import pytest

from trio_uwsgi._signals.targets import Headcount, Target, parse_target
from trio_uwsgi.errors import RegistrationError

pytestmark = pytest.mark.pure

MEANINGS = [
    ("", "worker", "one", 0),
    ("worker", "worker", "one", 0),
    ("worker0", "worker", "one", 0),
    ("workers", "worker", "all", 0),
    ("active-workers", "worker", "active", 0),
    ("worker1", "worker", "exact", 1),
    ("worker12", "worker", "exact", 12),
    ("mule", "mule", "one", 0),
    ("mule0", "mule", "one", 0),
    ("mules", "mule", "all", 0),
    ("mule3", "mule", "exact", 3),
    ("mule999999", "mule", "exact", 999_999),
    ("spooler", "spooler", "one", 0),
    ("spooler0", "spooler", "one", 0),
    ("spoolers", "spooler", "all", 0),
    ("spooler2", "spooler", "exact", 2),
]

FARMS = {"images": [1, 2], "mail": [2]}

IMPOSSIBLE = [
    ("wroker", "did you mean 'worker'?"),
    ("active_workers", "did you mean 'active-workers'?"),
    ("Mules", "did you mean 'mules'?"),
    ("spool", 'valid targets: "" or "worker" (any worker)'),
    ("farm", "valid targets:"),
    ("farm0", "valid targets:"),
    ("farm_", "valid targets:"),
    ("worker01", "valid targets:"),
    ("worker-1", "valid targets:"),
    ("worker1 ", "valid targets:"),
    ("worker1\n", "valid targets:"),
    ("mule1234567", "valid targets:"),
    ("mule٣", "valid targets:"),  # a digit for str.isdigit and \d, not for us
    ("\0", "valid targets:"),
]

MISFITS = [
    ("worker3", Headcount(2, 0), "this runtime has 2 workers); use worker1 to worker2, or set Config(workers=3)"),
    ("worker2", Headcount(1, 0), "this runtime has 1 worker); use worker1, or set Config(workers=2)"),
    ("mule9", Headcount(1, 2), "this runtime has 2 mules); use mule1 to mule2, or set Config(mules=9)"),
    ("mule1", Headcount(1, 0), "this runtime has 0 mules); use another target, or set Config(mules=1)"),
    (
        "mule",
        Headcount(1, 0),
        "this runtime has no mule; set Config(mules=1), on the command line --mules 1, or use another target",
    ),
    ("mules", Headcount(1, 0), "this runtime has no mule; set Config(mules=1)"),
    ("", Headcount(0, 1), "this runtime has no worker; set Config(workers=1)"),
    (
        "spooler",
        Headcount(1, 0),
        "this runtime has no spooler; set Config(spooler='jobs'), on the command line --spooler jobs",
    ),
    (
        "spooler3",
        Headcount(1, 0, 2),
        "use spooler1 to spooler2, or set Config(spooler='jobs', spooler_processes=3), on the command line --spooler ",
    ),
    ("active-workers", Headcount(0, 1), "this runtime has no worker; set Config(workers=1)"),
    ("farm_x", Headcount(1, 2), "no recipient: there is no farm 'x'; set Config(farms={'x': [1]})"),
    ("farm_x", Headcount(1, 2, farms=FARMS), "there is no farm 'x'; There are 'images', 'mail'"),
    ("farm_mial", Headcount(1, 2, farms=FARMS), "there is no farm 'mial'; did you mean 'mail'? There are"),
    ("farm3", Headcount(1, 2, farms=FARMS), "is farm number 3, but this runtime has 2: images, mail; use farm_NAME"),
    ("farm1", Headcount(1, 2), "is farm number 1, but this runtime has 0; use farm_NAME, or set Config(farms=...)"),
]


@pytest.mark.parametrize(("text", "kind", "reach", "number"), MEANINGS)
def test_target_means_what_uwsgi_means(text: str, kind: Any, reach: Any, number: int) -> None:
    """Every spelling of uWSGI's that exists here names the same members."""
    assert Target(text, kind, reach, number) == parse_target(text)


@pytest.mark.parametrize(
    ("text", "number", "farm"),
    [
        ("farm_images", 0, "images"),
        ("farm_1", 0, "1"),
        ("farm_a.b-c_d", 0, "a.b-c_d"),
        ("farm1", 1, ""),
        ("farm12", 12, ""),
    ],
)
def test_target_that_is_a_farm(text: str, number: int, farm: str) -> None:
    """A farm is named, or counted by its declaration."""
    assert Target(text, "mule", "farm", number, farm) == parse_target(text)


@pytest.mark.parametrize(
    ("text", "farm"), [("farm_mail", "mail"), ("farm2", "mail"), ("farm1", "images"), ("mule", "")]
)
def test_farm_of_a_target(text: str, farm: str) -> None:
    """A farm that exists is accepted, and has a name however it was written; other targets mean none."""
    target = parse_target(text)
    target.check(Headcount(1, 2, farms=FARMS))
    assert farm == target.farm_of(Headcount(1, 2, farms=FARMS))


@pytest.mark.parametrize(("text", "remedy"), IMPOSSIBLE)
def test_impossible_target_is_refused_where_it_is_written(text: str, remedy: str) -> None:
    """A target that no runtime could meet is refused with what would be valid, and with a guess where one is near."""
    with pytest.raises(RegistrationError) as caught:
        parse_target(text)
    assert repr(text) in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize("text", [None, 1, b"worker", ["worker"]])
def test_target_that_is_no_str_is_refused(text: Any) -> None:
    """A target of another type is refused like a wrong one, also if it cannot be hashed."""
    with pytest.raises(RegistrationError, match=r"a signal's target must be a str, not .*; valid targets:"):
        parse_target(text)


@pytest.mark.parametrize(("text", "headcount", "remedy"), MISFITS)
def test_target_that_these_members_cannot_meet_is_refused(text: str, headcount: Headcount, remedy: str) -> None:
    """A target is checked against the members there are; the refusal says which there are and what to set."""
    with pytest.raises(RegistrationError) as caught:
        parse_target(text).check(headcount)
    assert f"target {text!r}" in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "worker", "workers", "active-workers", "worker1", "worker2", "mule", "mules", "mule1"]
)
def test_target_that_fits_passes(text: str) -> None:
    """A target that names members that exist is accepted."""
    parse_target(text).check(Headcount(2, 1))


def test_headcount_of_a_kind() -> None:
    """A headcount tells the number of each kind."""
    assert (2, 5) == (Headcount(2, 5).of("worker"), Headcount(2, 5).of("mule"))


def test_headcount_of_members_that_always_run() -> None:
    """Without a minimum all members of a kind are always there; workers have none."""
    headcount = Headcount(2, 5, 3, min_mules=1)
    assert (2, 1, 3) == (headcount.least("worker"), headcount.least("mule"), headcount.least("spooler"))
    assert 0 == Headcount(1, 0, 3, min_spoolers=0).least("spooler")
