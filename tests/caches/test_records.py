"""The records of a cache's file."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._caches import records

pytestmark = pytest.mark.pure

KEYS = st.binary(min_size=1, max_size=3) | st.integers(490, 600).map(lambda length: b"k" * length)


@given(
    KEYS, st.binary(max_size=20), st.floats(0, allow_nan=False), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
)
def test_items_come_back(key: bytes, value: bytes, expires: float, slot: int, used: int) -> None:
    """Whole, their heads, and their keys, whatever the length of the key; every name fits into LMDB."""
    name = records.name_of(key)
    data = records.encode_item(key, (value, expires), slot, used)
    assert (key, (value, expires), slot, used) == records.decode_item(name, data)
    assert (expires, slot, used) == records.decode_head(memoryview(data))
    assert key == records.decode_key(name, memoryview(data))
    assert (expires, name) == records.decode_expiry(records.encode_expiry(expires, name))
    assert (used, name) == records.decode_use(records.encode_use(used, name))
    assert slot == records.decode_slot(records.encode_slot(slot))
    assert 511 >= len(records.encode_expiry(expires, name))


def test_times_are_in_order_as_bytes() -> None:
    """What expires first, or was used first, comes first in the file."""
    times = [0.0, 5e-324, 0.1, 1.0, 1.5, 255.0, 256.0, 1.7e9, 1e300, math.inf]
    assert sorted(times) == [
        records.decode_expiry(name)[0] for name in sorted(records.encode_expiry(t, b"i") for t in times)
    ]
    uses = [0, 1, 255, 256, 2**63, 2**64 - 1]
    assert uses == [records.decode_use(name)[0] for name in sorted(records.encode_use(use, b"i") for use in uses)]


def test_what_is_no_item_is_refused() -> None:
    """In each version, and for each length of keys."""
    for name in (b"ikey", b"h" + bytes(32)):
        with pytest.raises(ValueError, match="is not a cache's"):
            records.decode_item(name, b"short")
    with pytest.raises(ValueError, match="is not a cache's"):
        records.decode_version_1(b"key", b"short")
    assert (b"key", (b"v", math.inf)) == records.decode_version_1(b"key", b"\0\0\0\0\0\0\xf0\x7fv")
