"""The types of arguments and answers, the table of what is not there, and the facts of a runtime."""

from __future__ import annotations

import pytest

from trio_uwsgi import Config
from trio_uwsgi.compat import answers, facts
from trio_uwsgi.compat.absent import NEVER, NotSupported, refusals, why_missing
from trio_uwsgi.compat.facts import Facts
from trio_uwsgi.errors import NotServing

pytestmark = pytest.mark.pure


def test_yes_and_no() -> None:
    """They are True and None."""
    assert [True, True, None, None] == [answers.true_or_none(answer) for answer in (True, 5, False, None)]


@pytest.mark.parametrize("value", ["1", 1.5, None])
def test_numbers_that_are_not_whole(value: int) -> None:
    """They are refused, as arguments and as signals."""
    for check in (answers.whole, answers.signum_of):
        with pytest.raises(TypeError, match="integer"):
            check(value)


def test_whole_numbers() -> None:
    """They are what they are; the number of a signal is one byte of it."""
    assert [-1, 300, 1] == [answers.whole(value) for value in (-1, 300, True)]
    assert [255, 44, 1] == [answers.signum_of(value) for value in (-1, 300, True)]


def test_names_are_str() -> None:
    """Bytes are not."""
    assert "a" == answers.as_name("call", "a")
    with pytest.raises(TypeError, match=r"uwsgi\.call\(\) takes a name as str, not bytes"):
        answers.as_name("call", b"a")  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize("value", ["\xfc", "\xfc".encode(), bytearray("\xfc".encode()), memoryview("\xfc".encode())])
def test_data(value: answers.Data) -> None:
    """It is bytes, or a text in UTF-8."""
    assert b"\xc3\xbc" == answers.as_data("call", value)


def test_what_is_no_data() -> None:
    """A number is none, although bytes() would take it."""
    with pytest.raises(TypeError, match=r"uwsgi\.call\(\) takes str or a bytes-like object, not 'int'"):
        answers.as_data("call", 5)  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("app.sock", "./app.sock"),
        ("run/app.sock", "run/app.sock"),
        ("/run/app.sock", "/run/app.sock"),
        ("127.0.0.1:3031", "127.0.0.1:3031"),
        ("@abstract", "@abstract"),
        ("", ""),
    ],
)
def test_addresses(address: str, written: str) -> None:
    """What has no colon is a path, also without a slash."""
    assert written == answers.as_address(address)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("spool", "with a spooler: set Config"),
        ("snmp_set_gauge", "there is no SNMP agent"),
        ("nothing", "has no attribute 'nothing'$"),
    ],
)
def test_why_a_name_is_missing(name: str, reason: str) -> None:
    """The text names the option that it needs."""
    with pytest.raises(AttributeError, match=reason):
        raise AttributeError(why_missing(name))


def test_refusals() -> None:
    """Each raises when it is called, with the reason."""
    found = refusals()
    assert set(NEVER) == set(found)
    for name, refuse in found.items():
        with pytest.raises(NotSupported, match=rf"uwsgi\.{name}\(\) is not supported: ") as caught:
            refuse("any", argument="s")
        assert NEVER[name] in str(caught.value)


def test_facts() -> None:
    """They are those of the options, and survive as text; the last that were entered count."""
    config = Config(workers=3, mules=2, threads=4, spooler=["jobs"], pidfile="/run/pid", locks=5)
    known = Facts.from_text(Facts.of(config, master_pid=17, now=1000.9).to_text())
    assert (17, 3, 2, 4, 1000) == (known.master_pid, known.workers, known.mules, known.cores, known.started_on)
    assert (b"5", True) == (known.opt["locks"], known.opt["master"])
    facts.entries.append(known)
    try:
        assert known is facts.current()
    finally:
        facts.entries.remove(known)
    with pytest.raises(NotServing, match="was called after the end of the runtime"):
        facts.current()


def test_an_option_that_was_given_several_times() -> None:
    """Of its values the last is shown."""
    known = Facts.of(Config(http=["127.0.0.1:1", "127.0.0.1:2"]), master_pid=1, now=0)
    assert b"127.0.0.1:2" == known.opt["http"]
