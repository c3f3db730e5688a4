"""The API of caches, of this runtime and of other nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

from trio.lowlevel import checkpoint_if_cancelled

from trio_uwsgi._caches.caches import item_bytes
from trio_uwsgi._caches.rules import check_expiry, check_operand
from trio_uwsgi._protocol.packet import decode_array
from trio_uwsgi._protocol.remote_answers import CacheAnswer, Failure
from trio_uwsgi._protocol.remote_calls import CacheCall
from trio_uwsgi.errors import CacheError, CacheFull, CacheItemTooLarge
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import as_text, ask_node, current_unit

if TYPE_CHECKING:
    from trio_uwsgi._caches.caches import LocalCache

__all__ = [
    "cache",
    "cache_clear",
    "cache_dec",
    "cache_del",
    "cache_div",
    "cache_exists",
    "cache_get",
    "cache_inc",
    "cache_keys",
    "cache_mul",
    "cache_num",
    "cache_set",
    "cache_update",
]

# Keys that another node may send: more than fit into the largest answer.
_MOST_KEYS = 1 << 26


def cache(name: str = "") -> LocalCache:
    """The cache of that name, as a plain object that never waits and may be used by any thread.

    Args:
        name: as in `Config.caches`; `""` is the first one.
    Raises:
        CacheError: there is no such cache; says which there are.
        NotServing: not called by a running member.
    Checkpoint: never.
    uWSGI: has no counterpart; its `cache_...` functions never wait for a local cache.
    """
    unit = current_unit("cache", "caches belong to a runtime; for another node's write name@address")
    return unit.member.services.caches.get(name)


@awaited
async def cache_get(key: str | bytes, cache: str = "") -> bytes | None:
    """Get the value of an item.

    Args:
        key: bytes, or a str as UTF-8.
        cache: the name of a cache, `""` for the first one; `name@address` for another node's, where the address is as
            in `rpc`, and the name may be left out.
    Returns:
        The value; None if there is no item, or it has expired. A uWSGI says so for an unknown cache, too.
    Raises:
        CacheError: there is no such cache.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError: as `rpc`, for another node's.
        NotServing: not called by a running member, for a local cache.
    Checkpoint: a cancellation arrives here; others run only while another node is asked.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.cache_get`, which gives expired items until a sweep, and None for every error.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return _local(name).get(key)
    answer = await _ask(node, _call("get", name, key))
    return answer.value if _answers(answer, "not-found") else None


@awaited
async def cache_set(key: str | bytes, value: str | bytes, expires: float = 0, cache: str = "") -> bool:
    """Store a new item.

    Args:
        key: 1 to `Cache.max_key` bytes, or a str as UTF-8.
        value: 0 to `Cache.max_value` bytes, or a str as UTF-8. A uWSGI takes no empty one.
        expires: seconds from now; 0 is never. Another node is told whole seconds, rounded up.
        cache: as in `cache_get`.
    Returns:
        True; False if there is such an item, which stays. A uWSGI says so for whatever it does not store.
    Raises:
        CacheError: there is no such cache, the key is empty, `expires` is negative, or a str is not UTF-8.
        CacheFull: there is no room.
        CacheItemTooLarge: the key or the value is.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: a local cache is unchanged; another node may have stored it or not.
    uWSGI: `uwsgi.cache_set`, which gives None for each of these errors.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return _local(name).set(key, value, expires)
    answer = await _ask(node, _call("set", name, key, value, expires))
    return _answers(answer, "exists")


@awaited
async def cache_update(key: str | bytes, value: str | bytes, expires: float = 0, cache: str = "") -> None:
    """Store an item, or replace it.

    Args:
        key: as in `cache_set`.
        value: as in `cache_set`.
        expires: as in `cache_set`; replaces what was there.
        cache: as in `cache_get`.
    Raises:
        CacheError, CacheFull, CacheItemTooLarge: as `cache_set`; also where a uWSGI did not store it.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_update`.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        _local(name).update(key, value, expires)
        return
    _done(node, await _ask(node, _call("update", name, key, value, expires)))


@awaited
async def cache_del(key: str | bytes, cache: str = "") -> bool:
    """Drop an item.

    Args:
        key: as in `cache_get`.
        cache: as in `cache_get`.
    Returns:
        True; False if there is none.
    Raises:
        CacheError, NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_del`.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return _local(name).delete(key)
    answer = await _ask(node, _call("del", name, key))
    return _answers(answer, "not-found")


@awaited
async def cache_exists(key: str | bytes, cache: str = "") -> bool:
    """Is there such an item?

    Args:
        key: as in `cache_get`.
        cache: as in `cache_get`.
    Raises:
        CacheError, NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.cache_exists`.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return _local(name).exists(key)
    answer = await _ask(node, _call("exists", name, key))
    return _answers(answer, "not-found")


@awaited
async def cache_clear(cache: str = "") -> None:
    """Drop all items.

    Args:
        cache: as in `cache_get`.
    Raises:
        CacheError, NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_clear`.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        _local(name).clear()
        return
    _done(node, await _ask(node, _call("clear", name)))


@awaited
async def cache_inc(key: str | bytes, value: int = 1, expires: float = 0, cache: str = "") -> int:
    """Add to a number. It is stored as 8 bytes, as in uWSGI; where there is none, it begins as `Cache.math_initial`.

    Args:
        key: as in `cache_set`.
        value: what to add.
        expires: as in `cache_set`, for a new number; one that was there keeps its own.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError: as `cache_set`; or the item is no number, the new one has more than 64 bits, or the node is a uWSGI,
            whose remote arithmetic overwrites the number. Nothing changed.
        TypeError: `value` is not an int.
        CacheFull, CacheItemTooLarge: as `cache_set`.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_inc`, which gives True, and overflows.
    """
    return await _arithmetic("inc", key, value, expires, cache)


@awaited
async def cache_dec(key: str | bytes, value: int = 1, expires: float = 0, cache: str = "") -> int:
    """Subtract from a number; the rest is as with `cache_inc`.

    Args:
        key: as in `cache_inc`.
        value: what to subtract.
        expires: as in `cache_inc`.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError, CacheFull, CacheItemTooLarge, NodeError, ConfigError, NotServing: as `cache_inc`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_dec`.
    """
    return await _arithmetic("dec", key, value, expires, cache)


@awaited
async def cache_mul(key: str | bytes, value: int = 2, expires: float = 0, cache: str = "") -> int:
    """Multiply a number; the rest is as with `cache_inc`.

    Args:
        key: as in `cache_inc`.
        value: the factor.
        expires: as in `cache_inc`.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError, CacheFull, CacheItemTooLarge, NodeError, ConfigError, NotServing: as `cache_inc`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_mul`.
    """
    return await _arithmetic("mul", key, value, expires, cache)


@awaited
async def cache_div(key: str | bytes, value: int = 2, expires: float = 0, cache: str = "") -> int:
    """Divide a number, cutting the fraction off; the rest is as with `cache_inc`.

    Args:
        key: as in `cache_inc`.
        value: the divisor, not 0.
        expires: as in `cache_inc`.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError: as `cache_inc`, or the divisor is 0.
        CacheFull, CacheItemTooLarge, NodeError, ConfigError, NotServing: as `cache_inc`.
    Checkpoint: as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_div`, which stores 0 when it divides by 0.
    """
    return await _arithmetic("div", key, value, expires, cache)


@awaited
async def cache_num(key: str | bytes, cache: str = "") -> int:
    """The number that `cache_inc` and its siblings have stored.

    Args:
        key: as in `cache_get`.
        cache: as in `cache_get`.
    Returns:
        The number, 0 if there is none.
    Raises:
        CacheError: as `cache_get`, or the item is no number.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.cache_num`, which gives 0 for what is no number.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return _local(name).num(key)
    value = await cache_get(key, cache)
    if value is not None and len(value) != 8:
        raise CacheError(f"item {key!r} of {node} is not a number: it has {len(value)} bytes")
    return int.from_bytes(value or b"", "little", signed=True)


@awaited
async def cache_keys(cache: str = "") -> list[bytes]:
    """The keys of all items.

    Args:
        cache: as in `cache_get`.
    Raises:
        CacheError: as `cache_get`, or the node is a uWSGI, which does not tell.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: as `cache_get`.
    Cancellation: nothing happened.
    uWSGI: `uwsgi.cache_keys`, for local caches only.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return _local(name).keys()
    answer = await _ask(node, _call("keys", name))
    return decode_array(_done(node, answer).value or b"", _MOST_KEYS)


# ----- below


_local = cache  # whose name is that of an argument above


async def _ask(node: str, call: CacheCall) -> CacheAnswer | Failure | None:
    answer = await ask_node(node, call, None)
    assert answer is None or isinstance(answer, CacheAnswer | Failure)
    return answer


async def _arithmetic(command: str, key: str | bytes, value: int, expires: float, cache_name: str) -> int:
    name, at, node = as_text("the name of a cache", cache_name).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        found = _local(name)
        if command == "inc":  # asked far more often than the others
            return found.inc(key, value, expires)
        change = {"dec": found.dec, "mul": found.mul, "div": found.div}[command]
        return change(key, value, expires)
    check_operand(value)
    answer = await _ask(node, _call(command, name, key, b"%d" % value, expires))
    if answer is None:
        raise CacheError(
            f"node {node} did not change the number; if it is a uWSGI, its arithmetic for others overwrites numbers, "
            f"so it is not asked for: use cache_get and cache_update there"
        )
    return int(_done(node, answer).value or b"0")


def _call(command: str, name: str, key: str | bytes = b"", value: str | bytes = b"", expires: float = 0) -> CacheCall:
    """A call of another node, whose arguments are checked as they are for a local cache."""
    check_expiry(expires)
    return CacheCall(
        command=command,
        key=item_bytes("key", key),
        value=item_bytes("value", value),
        expires=0 if expires == math.inf else math.ceil(expires),
        cache=item_bytes("name", name),
    )


def _answers(answer: CacheAnswer | Failure | None, no: str) -> TypeGuard[CacheAnswer]:
    """Is it a yes? A failure of the kind `no` is none, and so is a uWSGI's silence.

    Raises:
        CacheError: it is another failure.
    """
    if isinstance(answer, Failure) and answer.kind != no:
        raise _error(answer)
    return isinstance(answer, CacheAnswer)


def _done(node: str, answer: CacheAnswer | Failure | None) -> CacheAnswer:
    if isinstance(answer, CacheAnswer):
        return answer
    raise _error(answer) if answer else CacheError(f"node {node} did not do it; a uWSGI gives no reason")


def _error(failure: Failure) -> CacheError:
    if failure.kind == "full":
        return CacheFull("", 0, failure.reason)
    if failure.kind == "too-large":
        return CacheItemTooLarge("", "value", 0, 0, failure.reason)
    return CacheError(failure.reason)
