"""Remote caches, in both directions between a real uWSGI and ours, over TCP and unix sockets.

What is stored, read and deleted is equal in all of them. The differences:

what                      | uWSGI calls             | ours calls                        | why
--------------------------|-------------------------|-----------------------------------|-----------------------------
done, or not              | True, or None           | True, or False; update and clear  | a bool says no better, and
                          |                         | None, or an error                 | no update is lost in silence
a cache that is not there | None                    | of ours `CacheError`; of uWSGI as | uWSGI answers every failure
                          |                         | a key that is not there           | by closing without a byte
a value that is too long, | None                    | of ours `CacheItemTooLarge`,      | the same
a cache that is full      |                         | `CacheFull`; of uWSGI False, and  |
                          |                         | `CacheError` for an update        |
an empty value            | of uWSGI None, of ours  | of ours stored; of uWSGI as above | uWSGI has no empty values
                          | True                    |                                   |
items=100                 | 99 in uWSGI, 100 in ours| the same                          | uWSGI keeps one for itself
inc, dec, mul, div        | the operand overwrites  | of ours exact; of uWSGI           | uWSGI sends an update with
                          | the number, in either   | `CacheError`, nothing is sent     | the operand as the value
keys                      | `ValueError`            | of ours a list; of uWSGI          | uWSGI's protocol has no such
                          |                         | `CacheError`                      | command
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any  # what cache functions return differs from one to the next

import pytest

from tests.interop.peers import Raised, exchange

if TYPE_CHECKING:
    from tests.interop.conftest import Pair

pytestmark = pytest.mark.real


class Remote:
    """The caller's view of the callee's caches, which are empty at first."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.yes = True
        self.no = None if pair.caller.kind == "uwsgi" else False
        self.done = True if pair.caller.kind == "uwsgi" else None
        for name in ("c1", "c2"):
            pair.callee.run("cache_clear", name)

    def __call__(self, function: str, *args: object, name: str = "c1") -> Any:
        """Have the caller call `cache_` and this, for a cache of the callee."""
        return self.pair.caller.run(f"cache_{function}", *args, f"{name}@{self.pair.node}")

    def here(self, key: str, name: str = "c1") -> Any:
        """What the callee itself has."""
        return self.pair.callee.run("cache_get", key, name)


@pytest.fixture
def remote(pair: Pair) -> Remote:
    """Empty caches at the other end."""
    return Remote(pair)


def test_what_is_set_can_be_got(remote: Remote) -> None:
    """A value of all bytes is stored at the other end, and read from there."""
    value = bytes(range(256))
    assert None is remote("get", "key")
    assert remote.yes is remote("set", "key", value, 0)
    assert value == remote.here("key")
    assert value == remote("get", "key")
    assert None is remote("get", "other")


@pytest.mark.parametrize("size", [1, 65_535, 65_536])
def test_values_up_to_the_limit(remote: Remote, size: int) -> None:
    """Values of 1 byte and up to the cache's limit arrive whole."""
    value = (b"0123456789abcdef" * 4096)[:size]
    assert remote.yes is remote("set", "key", value, 0)
    assert value == remote.here("key")
    assert value == remote("get", "key")


@pytest.mark.parametrize("key", ["k", "\u00fcnic\u00f6de \u2603", "k" * 2048])
def test_keys(remote: Remote, key: str) -> None:
    """Keys of one byte, of UTF-8, and of the longest kind are one and the same at both ends."""
    assert remote.yes is remote("set", key, b"value", 0)
    assert b"value" == remote.here(key)
    assert b"value" == remote("get", key)


def test_names_of_caches(remote: Remote) -> None:
    """Each cache is its own, and no name is the first one."""
    assert remote.yes is remote("set", "key", b"in c2", 0, name="c2")
    assert None is remote("get", "key", name="")
    assert remote.yes is remote("set", "key", b"in c1", 0, name="")
    assert b"in c1" == remote("get", "key", name="")
    assert b"in c1" == remote.here("key")
    assert b"in c2" == remote.here("key", "c2")


@pytest.mark.parametrize("function", ["get", "exists", "del"])
def test_a_cache_that_is_not_there(remote: Remote, function: str) -> None:
    """It is as a missing key where uWSGI is at one end, and an error between ours."""
    answer = remote(function, "key", name="nope")
    if remote.pair.kinds == "ours to ours":
        assert "CacheError" == answer.name
        assert "nope" in answer.text
    else:
        assert (None if function == "get" else remote.no) is answer


def test_set_keeps_what_is_there(remote: Remote) -> None:
    """A set of a key that exists changes nothing, and says so."""
    assert remote.yes is remote("set", "key", b"first", 0)
    assert remote.no is remote("set", "key", b"second", 0)
    assert b"first" == remote("get", "key")


def test_update_replaces(remote: Remote) -> None:
    """An update stores a value whether the key exists or not."""
    assert remote.done is remote("update", "key", b"first", 0)
    assert b"first" == remote("get", "key")
    assert remote.done is remote("update", "key", b"second", 0)
    assert b"second" == remote("get", "key")


def expiry(remote: Remote, key: bytes) -> int:
    """When the item expires, from the answer of the protocol, in seconds from now; 0 for never."""
    body = b"\x03\0cmd\x03\0get\x03\0key" + len(key).to_bytes(2, "little") + key + b"\x05\0cache\x02\0c1"
    reply = exchange(remote.pair.node, b"o" + len(body).to_bytes(2, "little") + b"\x11" + body)
    _, found, rest = reply.partition(b"\x07\0expires\x0a\0")
    return round(int(rest[:10]) - time.time()) if found else 0


@pytest.mark.parametrize("function", ["set", "update"])
def test_expiries(remote: Remote, function: str) -> None:
    """An expiry is sent in seconds from now, and answered as the time of day; 0 is never."""
    remote(function, "soon", b"value", 30)
    remote(function, "never", b"value", 0)
    assert expiry(remote, b"soon") in (29, 30, 31)
    assert 0 == expiry(remote, b"never")
    assert b"value" == remote("get", "soon")


def test_an_update_replaces_the_expiry(remote: Remote) -> None:
    """The expiry of an item is that of its last update."""
    remote("update", "key", b"value", 30)
    remote("update", "key", b"value", 300)
    assert expiry(remote, b"key") in (299, 300, 301)
    remote("update", "key", b"value", 0)
    assert 0 == expiry(remote, b"key")


def test_delete_and_exists(remote: Remote) -> None:
    """An item exists until it is deleted, which happens once."""
    assert remote.no is remote("exists", "key")
    assert remote.no is remote("del", "key")
    remote("set", "key", b"value", 0)
    assert remote.yes is remote("exists", "key")
    assert remote.yes is remote("del", "key")
    assert remote.no is remote("exists", "key")
    assert None is remote.here("key")


def test_clear(remote: Remote) -> None:
    """A clear empties the cache that it names, and no other."""
    for name in ("c1", "c2"):
        for number in range(3):
            remote("set", f"key{number}", b"value", 0, name=name)
    assert remote.done is remote("clear", name="c2")
    assert [None] * 3 == [remote.here(f"key{number}", "c2") for number in range(3)]
    assert [b"value"] * 3 == [remote.here(f"key{number}") for number in range(3)]


def refused(remote: Remote, function: str) -> Callable[[Any], bool]:
    """Is this how the caller learns that a uWSGI node stored nothing?"""
    if remote.pair.caller.kind == "ours" and function == "update":
        return lambda answer: isinstance(answer, Raised) and answer.name == "CacheError"
    return lambda answer: answer is remote.no


@pytest.mark.parametrize("function", ["set", "update"])
def test_values_beyond_the_limit(remote: Remote, function: str) -> None:
    """A value that is longer than the cache's items is not stored."""
    answer = remote(function, "key", bytes(129), 0, name="c2")
    if remote.pair.kinds == "ours to ours":
        assert "CacheItemTooLarge" == answer.name
        assert "128" in answer.text
    else:
        assert refused(remote, function)(answer), answer
    assert None is remote.here("key", "c2")


@pytest.mark.parametrize("function", ["set", "update"])
def test_empty_values(remote: Remote, function: str) -> None:
    """An empty value is stored by ours, for any caller, and refused by uWSGI."""
    answer = remote(function, "key", b"", 0)
    if remote.pair.callee.kind == "ours":
        assert (remote.yes if function == "set" else remote.done) is answer
        assert b"" == remote.here("key")
    else:
        assert refused(remote, function)(answer), answer
        assert None is remote.here("key")


def test_a_full_cache(remote: Remote) -> None:
    """A full cache keeps its items; uWSGI's holds one item less than configured."""
    for number in range(100):
        answer = remote("set", f"key{number}", b"value", 0)
        assert (remote.no if remote.pair.callee.kind == "uwsgi" and number == 99 else remote.yes) is answer
    answer = remote("set", "one too many", b"value", 0)
    if remote.pair.kinds == "ours to ours":
        assert "CacheFull" == answer.name
    else:
        assert remote.no is answer
    assert b"value" == remote("get", "key98")


def number(value: int) -> bytes:
    """A number as caches hold it."""
    return value.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize(
    ("function", "operand", "exact"), [("inc", 5, 12), ("dec", 5, 2), ("mul", 5, 35), ("div", 5, 1)]
)
def test_arithmetic(remote: Remote, function: str, operand: int, exact: int) -> None:
    """uWSGI replaces a remote number by the operand; ours refuses to send that to uWSGI, and computes between ours."""
    remote("update", "key", number(7), 0)
    answer = remote(function, "key", operand, 0)
    if remote.pair.caller.kind == "uwsgi":
        assert (True, number(operand)) == (answer, remote.here("key"))
    elif remote.pair.callee.kind == "uwsgi":
        assert ("CacheError", number(7)) == (answer.name, remote.here("key"))
    else:
        assert (exact, number(exact)) == (answer, remote.here("key"))


def test_numbers_are_read(remote: Remote) -> None:
    """A number at the other end is read as one; a key that is not there is 0."""
    assert 0 == remote("num", "key")
    remote("update", "key", number(-7), 0)
    assert -7 == remote("num", "key")


def test_keys_are_listed(remote: Remote) -> None:
    """The keys of a remote cache are known between ours, and no command of uWSGI's protocol."""
    remote("set", "a", b"value", 0)
    remote("set", "b", b"value", 0)
    answer = remote("keys")
    if remote.pair.caller.kind == "uwsgi":
        assert Raised("ValueError", "no local uWSGI cache available") == answer
    elif remote.pair.callee.kind == "uwsgi":
        assert "CacheError" == answer.name
    else:
        assert [b"a", b"b"] == sorted(answer)


def test_a_node_without_a_server(pair: Pair, tmp_path: object) -> None:
    """It is as a missing key for uWSGI, and an error in ours."""
    nowhere = f"{tmp_path}/nobody.sock" if pair.over == "unix" else "127.0.0.1:1"
    answer = pair.caller.run("cache_get", "key", f"c1@{nowhere}")
    if pair.caller.kind == "uwsgi":
        assert None is answer
    else:
        assert "NodeUnreachable" == answer.name
