"""The rules of caches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._caches.rules import CacheRules, CacheStatistics, Item, MemoryItems, check_operand
from trio_uwsgi._caches.shared_cache import SharedRules
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi.config.options import Cache
from trio_uwsgi.errors import CacheError, CacheFull, CacheItemTooLarge

pytestmark = pytest.mark.pure

Make = Callable[..., CacheRules | SharedRules]


@pytest.fixture(params=["memory", "shared"])
def rules(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a cache, of each kind; its spec's fields have types of their own."""
    with ExitStack() as stack:

        def make(items: int = 3, **spec: Any) -> CacheRules | SharedRules:
            if request.param == "memory":
                return CacheRules(Cache("c", items=items, **spec))
            folder = SharedFolder.make()
            stack.callback(folder.remove)
            return stack.enter_context(closing(SharedRules(Cache("c", items=items, **spec), folder, 0)))

        yield make


def test_an_item_is_there_until_the_instant_it_expires(rules: Make) -> None:
    """At that instant it is gone, for every question."""
    cache = rules()
    cache.update(b"a", b"1", 10, 100)
    assert (b"1", 110) == cache.get(b"a", 109.999)
    assert cache.exists(b"a", 109.999)
    assert cache.get(b"a", 110) is None
    assert not cache.exists(b"a", 110)
    assert [] == cache.keys(110)
    assert not cache.delete(b"a", 110)
    assert CacheStatistics(0, 1, 1, 0) == cache.statistics(110)


def test_set_stores_only_what_is_new(rules: Make) -> None:
    """An item that is there stays; one that has expired is replaced."""
    cache = rules()
    assert cache.set(b"a", b"1", 5, 0)
    assert not cache.set(b"a", b"2", 0, 4)
    assert cache.set(b"a", b"3", 0, 5)
    assert (b"3", math.inf) == cache.get(b"a", 1e9)
    assert cache.delete(b"a", 0)
    assert not cache.delete(b"a", 0)


def test_a_full_cache_says_so_and_expired_items_make_room(rules: Make) -> None:
    """It holds as many as it was told, and replacing needs no room."""
    cache = rules(2)
    cache.update(b"a", b"1", 10, 0)
    cache.update(b"b", b"2", 0, 0)
    cache.update(b"b", b"3", 0, 0)
    with pytest.raises(CacheFull, match="'c' is full: it holds 2 items"):
        cache.update(b"c", b"4", 0, 9)
    cache.update(b"c", b"4", 0, 10)
    assert [b"b", b"c"] == cache.keys(10)
    assert 1 == cache.statistics(10).full


def test_lru_drops_what_was_not_used_for_the_longest_time(rules: Make) -> None:
    """Getting and updating are uses."""
    cache = rules(3, lru=True)
    for key in (b"a", b"b", b"c"):
        cache.update(key, b"", 0, 0)
    cache.get(b"a", 0)
    cache.update(b"b", b"x", 0, 0)
    cache.update(b"d", b"", 0, 0)
    assert [b"a", b"b", b"d"] == cache.keys(0)


def test_clear_on_full_drops_everything(rules: Make) -> None:
    """Then there is room for the new one."""
    cache = rules(1, clear_on_full=True)
    cache.update(b"a", b"", 0, 0)
    cache.update(b"b", b"", 0, 0)
    assert [b"b"] == cache.keys(0)


def test_what_cannot_be_stored_is_refused(rules: Make) -> None:
    """Keys and values that are too long, empty keys, times in the past."""
    cache = rules(max_key=2, max_value=8)
    for key, value in ((b"abc", b""), (b"a", b"123456789")):
        with pytest.raises(CacheItemTooLarge):
            cache.update(key, value, 0, 0)
    with pytest.raises(TypeError, match="an item expires in a number of seconds, not '5'"):
        cache.update(b"a", b"", "5", 0)  # type: ignore[arg-type]  # that is the point
    for key, expires in ((b"", 0.0), (b"a", -1.0), (b"a", math.nan)):
        with pytest.raises(CacheError):
            cache.update(key, b"", expires, 0)
    assert [] == cache.keys(0)


def test_arithmetic_is_exact_and_keeps_the_expiry(rules: Make) -> None:
    """A missing number begins as `math_initial`; overflow and what is no number change nothing."""
    cache = rules(math_initial=5)
    assert 8 == cache.change(b"n", lambda number: number + 3, 10, 0)
    assert 16 == cache.change(b"n", lambda number: number * 2, 99, 5)
    assert (16).to_bytes(8, "little") == (cache.get(b"n", 9.9) or (b"", 0))[0]
    assert 16 == cache.number(b"n", 9.9)
    assert 0 == cache.number(b"n", 10)
    assert 4 == cache.change(b"n", lambda number: number - 1, 0, 10)
    with pytest.raises(CacheError, match="more than 64 bits"):
        cache.change(b"n", lambda number: 2**63, 0, 10)
    cache.update(b"text", b"12345", 0, 10)
    with pytest.raises(CacheError, match="is not a number: it has 5 bytes"):
        cache.change(b"text", abs, 0, 10)
    assert 4 == cache.number(b"n", 10)


def test_changed_is_called_before_each_change() -> None:
    """Whoever keeps a copy has what the cache has; what it refuses does not happen."""
    copy: dict[bytes, Item] = {}

    def changed(key: bytes | None, item: Item | None) -> None:
        if key is None:
            copy.clear()
        elif item is None:
            copy.pop(key, None)
        elif item[0] == b"refused":
            raise OSError("no space")
        else:
            copy[key] = item

    cache = CacheRules(Cache("c", items=2, lru=True), changed)
    cache.update(b"a", b"1", 0, 0)
    cache.update(b"b", b"2", 5, 0)
    cache.update(b"c", b"3", 0, 0)
    with pytest.raises(OSError, match="no space"):
        cache.update(b"c", b"refused", 0, 0)
    assert {b"b": (b"2", 5.0), b"c": (b"3", math.inf)} == copy
    again = CacheRules(Cache("c", items=1, max_value=8), changed)
    again.load([*copy.items(), (b"long", (b"x" * 9, math.inf))], 5)
    assert [b"c"] == again.keys(5)
    assert {b"c": (b"3", math.inf)} == copy
    again.clear()
    assert {} == copy


def test_the_items_used_last_are_taken_over() -> None:
    """Where a cache has become smaller: under `lru` those that come last, else those that come first."""
    kept = [(b"%d" % number, (b"", 5.0 if number == 3 else math.inf)) for number in range(5)]
    for lru, expected in ((True, [b"2", b"4"]), (False, [b"0", b"1"])):
        cache = CacheRules(Cache("c", items=2, lru=lru))
        cache.load(kept, 5)
        assert expected == cache.keys(5)


def test_updates_for_ever_take_no_memory() -> None:
    """An item that is replaced again and again leaves nothing of the times at which it would have expired."""
    items = MemoryItems(lru=False)
    cache = CacheRules(Cache("c", items=2), items=items)
    for number in range(1000):
        cache.update(b"a", b"", 10, number)
    cache.update(b"b", b"", 0, 1000)
    assert 70 > len(items._expiring)
    assert [b"b"] == cache.keys(2000)
    assert 1 == cache.statistics(2000).items


def test_what_has_expired_goes_in_pieces(rules: Make) -> None:
    """One that needs room drops some of it, all of it is not counted, and clearing forgets when it would expire."""
    cache = rules(100)
    for number in range(100):
        cache.update(b"%d" % number, b"", 1 + number, 0)
    cache.update(b"new", b"", 0, 1000)
    assert [b"new"] == cache.keys(1000)
    assert 1 == cache.statistics(1000).items
    cache.update(b"a", b"", 1, 1000)
    cache.clear()
    cache.update(b"a", b"", 0, 1000)
    assert CacheStatistics(1, 0, 0, 0) == cache.statistics(2000)


def test_keys_of_all_lengths(rules: Make) -> None:
    """Two keys are one if they are equal, also where they are longer than what a file takes for a name."""
    cache = rules(10, max_key=2000)
    keys = [b"k" * length for length in (1, 499, 500, 501, 511, 512, 2000)]
    for key in keys:
        assert cache.set(key, b"%d" % len(key), len(key), 0)
    assert keys == sorted(cache.keys(0))
    assert [(b"%d" % len(key), len(key)) for key in keys] == [cache.get(key, 0) for key in keys]
    assert [b"k" * 512, b"k" * 2000] == sorted(cache.keys(511))
    assert 2 == cache.statistics(511).items
    assert cache.delete(b"k" * 2000, 511)
    assert not cache.exists(b"k" * 2000, 511)
    assert cache.get(b"k" * 1999, 511) is None
    assert 5 == cache.change(b"k" * 1999, lambda number: number + 5, 0, 511)
    assert 5 == cache.number(b"k" * 1999, 511)


def test_the_oldest_is_found_among_many_uses(rules: Make) -> None:
    """However many items were used since one was dropped, in whatever order, the next to go is the right one."""
    cache = rules(50, lru=True)
    for number in range(50):
        cache.update(b"%d" % number, b"", 0, 0)
    for number in [*range(49), *range(30)]:
        cache.get(b"%d" % number, 0)
    cache.exists(b"49", 0)
    cache.update(b"a", b"", 0, 0)
    assert not cache.exists(b"49", 0)
    cache.update(b"b", b"", 0, 0)
    assert not cache.exists(b"30", 0)
    assert cache.delete(b"31", 0)
    cache.update(b"c", b"", 0, 0)
    assert cache.exists(b"32", 0)
    cache.update(b"d", b"", 0, 0)
    assert not cache.exists(b"32", 0)
    assert 50 == len(cache.keys(0))


@given(st.lists(st.tuples(st.sampled_from("ugds"), st.integers(0, 4), st.integers(0, 3), st.integers(0, 2))))
def test_it_does_what_a_dict_with_times_would(steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever is done in whatever order, the answers are those of the plainest cache there is."""
    cache = CacheRules(Cache("c", items=3))
    plain: dict[bytes, tuple[bytes, float]] = {}
    now = 0.0
    for what, name, expires, passed in steps:
        now += passed
        key = b"%d" % name
        plain = {known: item for known, item in plain.items() if item[1] > now}
        if what == "g":
            assert plain.get(key) == cache.get(key, now)
        elif what == "d":
            assert (key in plain) == cache.delete(key, now)
            plain.pop(key, None)
        elif what == "s" and key in plain:
            assert not cache.set(key, b"new", expires, now)
        elif key not in plain and len(plain) == 3:
            with pytest.raises(CacheFull):
                cache.update(key, b"", expires, now)
        else:
            (cache.update if what == "u" else cache.set)(key, b"v%d" % len(steps), expires, now)
            plain[key] = (b"v%d" % len(steps), now + expires if expires else math.inf)
        assert sorted(plain) == sorted(cache.keys(now))


@pytest.mark.parametrize("expires", [-1, -0.001, math.nan, 1e18, 10**400])
def test_what_cannot_be_a_time_of_expiry(rules: Make, expires: float) -> None:
    """It is refused, whether there is such an item or not, and nothing changes; infinity is never."""
    cache = rules()
    cache.set(b"a", b"1", math.inf, 0)
    for call in (cache.set, cache.update):
        for key in (b"a", b"b"):
            with pytest.raises(CacheError, match="use 0 or more"):
                call(key, b"2", expires, 0)
    assert [(b"a", (b"1", math.inf))] == [(key, cache.get(key, 1e17)) for key in cache.keys(1e17)]


def test_what_a_number_can_be_changed_by() -> None:
    """An int of at most 64 bits; a float would be cut on its way to another node."""
    for value in (0, 1, -(2**63), 2**63):
        check_operand(value)
    for wrong in (1.0, "1", None):
        with pytest.raises(TypeError, match="changed by an int"):
            check_operand(wrong)  # type: ignore[arg-type]
    for large in (2**63 + 1, -(2**63) - 1, 10**5000):
        with pytest.raises(CacheError, match="more than 64 bits"):
            check_operand(large)


def test_an_expired_item_that_could_not_be_dropped_is_dropped_later() -> None:
    """A copy that takes nothing for a while does not cost the cache a place for ever."""
    refused = [True]

    def changed(key: bytes | None, item: Item | None) -> None:
        if item is None and refused[0]:
            raise OSError("no space")

    cache = CacheRules(Cache("c", items=1), changed)
    cache.update(b"a", b"1", 5, 0)
    with pytest.raises(OSError, match="no space"):
        cache.update(b"b", b"2", 0, 6)
    refused[0] = False
    cache.update(b"b", b"2", 0, 6)
    assert [b"b"] == cache.keys(6)


def test_a_copy_is_cleared_at_once() -> None:
    """It is told once, so that it has all items or none, whatever happens meanwhile."""
    told: list[tuple[bytes | None, Item | None]] = []
    cache = CacheRules(Cache("c", items=9), lambda key, item: told.append((key, item)))
    for number in range(5):
        cache.update(b"%d" % number, b"", 0, 0)
    cache.clear()
    assert [(None, None)] == told[5:]
