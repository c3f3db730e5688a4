"""Spool files as bytes. That they are uWSGI's, test_uwsgi_fixtures.py shows too."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._spool.file_format import LONGEST_HEAD, decode_head, encode_job
from trio_uwsgi.errors import BadSpoolFile, JobTooLarge, SpoolError

pytestmark = pytest.mark.pure

FOLDER = Path(__file__).parents[1] / "fixtures" / "uwsgi"


@pytest.mark.parametrize(
    ("name", "expected", "body"),
    [
        ("spool_simple_at", [(b"foo", b"bar"), (b"at", b"2000000000")], b""),
        ("spool_body_priority5", [(b"foo", b"bar"), (b"at", b"2000000000"), (b"priority", b"5")], b"BODY" * 10),
    ],
)
def test_files_of_a_real_uwsgi(name: str, expected: list[tuple[bytes, bytes]], body: bytes) -> None:
    """They decode to what was spooled, and the same job encodes to the same bytes."""
    data = (FOLDER / f"{name}.bin").read_bytes()
    pairs, begin = decode_head(data)
    assert (expected, body) == (pairs, data[begin:])
    assert data == encode_job(expected) + body


@given(st.lists(st.tuples(st.binary(min_size=1), st.binary())), st.binary())
def test_round_trip(pairs: list[tuple[bytes, bytes]], body: bytes) -> None:
    """What goes in comes out, whatever its bytes are; no job needs vars."""
    head = encode_job(pairs)
    assert (pairs, len(head)) == decode_head(head + body)


def test_a_file_is_cut_off_at_any_byte_of_its_head() -> None:
    """That is told from a file that is none of a job: it may be being written."""
    head = encode_job([(b"name", b"value" * 100)])
    for size in range(len(head)):
        with pytest.raises(BadSpoolFile, match=f"it ends after {size} bytes") as caught:
            decode_head(head[:size])
        assert caught.value.cut_off


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x00\x00\x00\x00", "it begins with byte 0, a spool file with 17"),
        (b"%PDF", "it begins with byte 37"),
        (b"\x11\x01\x00\x00a", "var 1 is cut off"),
        (b"\x11\x04\x00\x00\x00\x00\x00\x00", "the name of var 1 is empty"),
        (b"\x11\x06\x00\x00\x01\x00a\xff\x00b", "var 1 is cut off: it ends at byte 260, the packet at 6"),
    ],
)
def test_corrupt_files(data: bytes, problem: str) -> None:
    """Waiting for more does not help them, and the error says what is wrong."""
    with pytest.raises(BadSpoolFile, match=problem) as caught:
        decode_head(data)
    assert not caught.value.cut_off


def test_the_longest_head() -> None:
    """It is accepted, and read again; one byte more is not."""
    head = encode_job([(b"a", b"x" * (65_535 - 5))])
    assert LONGEST_HEAD == len(head)
    assert LONGEST_HEAD == decode_head(head + b"body")[1]
    with pytest.raises(JobTooLarge, match=r"the names and values, .* may have at most 65535 bytes, but has 65536; "):
        encode_job([(b"a", b"x" * (65_535 - 4))])


@pytest.mark.parametrize(
    ("pair", "what"),
    [
        ((b"image", b"x" * 70_000), "the value of 'image' may have at most 65535 bytes, but has 70000; .* as body="),
        ((b"n\xff" * 40_000, b""), "the name 'n\ufffdn"),
    ],
)
def test_what_is_too_long_is_refused(pair: tuple[bytes, bytes], what: str) -> None:
    """uWSGI would cut it off."""
    with pytest.raises(JobTooLarge, match=what):
        encode_job([(b"ok", b"1"), pair])


def test_a_value_needs_a_name() -> None:
    """uWSGI could not read the file."""
    with pytest.raises(SpoolError, match="the name of b'value' is empty; give each value a name"):
        encode_job([(b"", b"value")])
