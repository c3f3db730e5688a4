"""uwsgi packets, vars and arrays as bytes."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._protocol.packet import (
    HEADER_SIZE,
    MAX_BODY,
    decode_array,
    decode_header,
    decode_vars,
    encode_array,
    encode_packet,
    encode_vars,
)
from trio_uwsgi.errors import RemoteProtocolError

pytestmark = pytest.mark.pure

LENGTHS = (0, 1, 255, 256, 257, 65534, 65535)


def test_a_packet_is_a_header_and_a_body() -> None:
    """The size is little endian, between the two modifiers."""
    assert b"\x01\x03\x00\x02abc" == encode_packet(1, 2, b"abc")
    assert (1, 3, 2) == decode_header(b"\x01\x03\x00\x02abc")
    assert (255, 0x1234, 254) == decode_header(bytearray(b"\xff\x34\x12\xfe"))
    assert (1, 3, 2) == decode_header(b"before\x01\x03\x00\x02", 6)
    largest = encode_packet(173, 0, bytes(MAX_BODY))
    assert (HEADER_SIZE + MAX_BODY, (173, 65535, 0)) == (len(largest), decode_header(largest))


def test_a_packet_that_is_too_long_is_refused() -> None:
    """Its size is never cut to what fits into 16 bits."""
    with pytest.raises(ValueError, match=re.escape("at most 65535 bytes, and this one has 65536")):
        encode_packet(0, 0, bytes(MAX_BODY + 1))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x01\x00"])
def test_a_header_that_is_cut_off(data: bytes) -> None:
    """A header has four bytes."""
    with pytest.raises(RemoteProtocolError, match=f"has 4 bytes, and this one has {len(data)}$"):
        decode_header(data)


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_of_names_values_and_items(length: int) -> None:
    """Sizes of one and of two bytes are written and read alike, up to the largest."""
    value = b"v" * length
    pairs = [(b"name", value), (b"other", b"x")]
    assert pairs == decode_vars(encode_vars(pairs), 2)
    if length:
        named = [(value, b"x"), (value, b"")]
        assert named == decode_vars(encode_vars(named), 2)
    items = [value, b"x", value]
    assert items == decode_array(encode_array(items), 3)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=300)), max_size=20))
def test_vars_round_trip(pairs: list[tuple[bytes, bytes]]) -> None:
    """Any vars are read as they were written, in their order, repeated ones too."""
    assert pairs == decode_vars(encode_vars(pairs), 20)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_arrays_round_trip(items: list[bytes]) -> None:
    """Any array is read as it was written."""
    assert items == decode_array(encode_array(items), 20)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_whole_or_refused(body: bytes) -> None:
    """What is read is written to the same bytes again; anything else is refused."""
    with contextlib.suppress(RemoteProtocolError):
        assert body == encode_vars(decode_vars(body, 30))
    with contextlib.suppress(RemoteProtocolError):
        assert body == encode_array(decode_array(body, 30))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x01", "var 1 is cut off: the packet's 1 bytes end before it"),
        (b"\x01\x00", "var 1 is cut off: the packet's 2 bytes end before it"),
        (b"\x01\x00a", "var 1 is cut off: the packet's 3 bytes end before it"),
        (b"\x01\x00a\x01", "var 1 is cut off: the packet's 4 bytes end before it"),
        (b"\xff\xffa\x01\x00b", "var 1 is cut off: the packet's 6 bytes end before it"),
        (b"\x01\x00a\x02\x00b", "var 1 is cut off: it ends at byte 7, the packet at 6"),
        (b"\x01\x00a\x00\x00\x01\x00b\x00\xff", "var 2 is cut off: it ends at byte 65290, the packet at 10"),
        (b"\x01\x00a\x00\x00\x00\x00\x01\x00b", "the name of var 2 is empty"),
    ],
)
def test_malformed_vars(body: bytes, message: str) -> None:
    """The error says what is wrong, and where."""
    with pytest.raises(RemoteProtocolError, match=f"^{re.escape(message)}$") as caught:
        decode_vars(body, 9)
    assert 400 == caught.value.status_hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x01", "item 0 is cut off: the packet's 1 bytes end before it"),
        (b"\x01\x00a\x01", "item 1 is cut off: the packet's 4 bytes end before it"),
        (b"\x01\x00", "item 0 is cut off: it ends at byte 3, the packet at 2"),
        (b"\x01\x00a\x02\x00b", "item 1 is cut off: it ends at byte 7, the packet at 6"),
    ],
)
def test_malformed_arrays(body: bytes, message: str) -> None:
    """The error says what is wrong, and where."""
    with pytest.raises(RemoteProtocolError, match=f"^{re.escape(message)}$"):
        decode_array(body, 9)


def test_too_many_vars_and_items() -> None:
    """One more than allowed is refused; for vars, which are the headers of a request, with the status for those."""
    with pytest.raises(RemoteProtocolError, match=r"^there are more than 2 vars$") as caught:
        decode_vars(encode_vars([(b"a", b"")] * 3), 2)
    assert 431 == caught.value.status_hint
    with pytest.raises(RemoteProtocolError, match=r"^there are more than 2 items$"):
        decode_array(encode_array([b"a"] * 3), 2)


def test_what_cannot_be_written() -> None:
    """A name, value or item that is too long is named in the error; a var needs a name."""
    long = bytes(MAX_BODY + 1)
    with pytest.raises(ValueError, match=r"^the value of var b'key' has at most 65535 bytes, and this one has 65536$"):
        encode_vars([(b"a", b"b"), (b"key", long)])
    with pytest.raises(ValueError, match=r"^the name of a var has at most 65535 bytes, and this one has 65536$"):
        encode_vars([(long, b"")])
    with pytest.raises(ValueError, match=r"^the name of a var is empty; its value is b'x'$"):
        encode_vars([(b"", b"x")])
    with pytest.raises(ValueError, match=r"^item 1 of an array has at most 65535 bytes, and this one has 65536$"):
        encode_array([b"", long])
