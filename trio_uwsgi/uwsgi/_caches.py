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
from trio_uwsgi.uwsgi._base import as_text, ask_node, current_unit, running_unit

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

# The limit for the keys in another node's answer: more than fit into the largest one.
_MOST_KEYS = 1 << 26


def cache(name: str = "") -> LocalCache:
    """Return a local cache as an object, a `LocalCache`, whose methods never wait.

    Use it in synchronous code, or where the cache is always a local one.

    Args:
        name: the name of the cache in `Config.caches`; `""` for the first one.
    Raises:
        CacheError: there is no such cache; the text names those that there are.
        NotServing: not called by a running member. In the application's import the functions of caches work, but not
            this one: each process opens the caches for itself.
    Checkpoint: never. May be called from the runtime's threads; the methods of the cache from any thread.
    uWSGI: no counterpart. Its functions, such as `uwsgi.cache_get`, never wait for a local cache.
    Example:
        hits = uwsgi.cache().inc("hits")
    """
    unit = running_unit("cache", "call it in a request, a handler or a mule's program")
    return unit.member.services.caches.get(name)


def local_cache(name: str) -> LocalCache:
    """As `cache`, for one call, which the application's import may make."""
    unit = current_unit("cache", "call it in a request, a handler or a mule's program")
    return unit.member.services.caches.get(name)


@awaited
async def cache_get(key: str | bytes, cache: str = "") -> bytes | None:
    """Get the value of an item.

    Args:
        key: bytes, or a str that is encoded as UTF-8.
        cache: the name of a local cache, `""` for the first one; or `name@address` for a cache of another node. The
            address is that of a node, as in `rpc`. `@address` is the first cache of the node.
    Returns:
        The value; None if the item does not exist or has expired. A uWSGI node also returns None for an unknown cache.
    Raises:
        CacheError: there is no such cache.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError: as `rpc`; for a cache of another node.
        NotServing: called neither by a member nor in the application's import; for a local cache.
    Checkpoint: only when contended. A pending cancellation is always raised; other tasks run only while another node is
        asked.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.cache_get`, which returns expired items until the next sweep, and None for an unknown cache, an
        unreachable node and every other error.
    Example:
        page = await uwsgi.cache_get("page/1")
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return local_cache(name).get(key)
    answer = await _ask(node, _call("get", name, key))
    return answer.value if _answers(answer, "not-found") else None


@awaited
async def cache_set(key: str | bytes, value: str | bytes, expires: float = 0, cache: str = "") -> bool:
    """Store a new item.

    Args:
        key: 1 to `Cache.max_key` bytes, or a str as UTF-8.
        value: 0 to `Cache.max_value` bytes, or a str as UTF-8. A uWSGI node refuses an empty value.
        expires: seconds from now; 0 for never. For another node they are rounded up to whole seconds.
        cache: as in `cache_get`.
    Returns:
        True; False if an item with this key exists, which is not changed. A uWSGI node returns False for every value
        that it does not store.
    Raises:
        CacheError: there is no such cache, the key is empty, `expires` is negative, or a str cannot be encoded.
        CacheFull: the cache has no room.
        CacheItemTooLarge: the key or the value is too large.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: a local cache is unchanged; another node may or may not have stored the item.
    uWSGI: `uwsgi.cache_set`, which returns None for an item that exists and for each of these errors.
    Example:
        stored = await uwsgi.cache_set("page/1", b"<h1>One</h1>", expires=60)
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return local_cache(name).set(key, value, expires)
    answer = await _ask(node, _call("set", name, key, value, expires))
    return _answers(answer, "exists")


@awaited
async def cache_update(key: str | bytes, value: str | bytes, expires: float = 0, cache: str = "") -> None:
    """Store an item, or replace it.

    Args:
        key: as in `cache_set`.
        value: as in `cache_set`.
        expires: as in `cache_set`; replaces the time of an item that exists.
        cache: as in `cache_get`.
    Raises:
        CacheError, CacheFull, CacheItemTooLarge: as `cache_set`; also if a uWSGI node did not store the item.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_update`, which returns None if the cache is full or the item is too large.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        local_cache(name).update(key, value, expires)
        return
    _done(node, await _ask(node, _call("update", name, key, value, expires)))


@awaited
async def cache_del(key: str | bytes, cache: str = "") -> bool:
    """Delete an item.

    Args:
        key: as in `cache_get`.
        cache: as in `cache_get`.
    Returns:
        True; False if there is no such item.
    Raises:
        CacheError, NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_del`, which returns None if there is no such item.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return local_cache(name).delete(key)
    answer = await _ask(node, _call("del", name, key))
    return _answers(answer, "not-found")


@awaited
async def cache_exists(key: str | bytes, cache: str = "") -> bool:
    """Return whether an item with this key exists and has not expired.

    Args:
        key: as in `cache_get`.
        cache: as in `cache_get`.
    Raises:
        CacheError, NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.cache_exists`, which returns True or None, and True for an expired item until the next sweep.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return local_cache(name).exists(key)
    answer = await _ask(node, _call("exists", name, key))
    return _answers(answer, "not-found")


@awaited
async def cache_clear(cache: str = "") -> None:
    """Delete all items of a cache.

    Args:
        cache: as in `cache_get`.
    Raises:
        CacheError, NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_clear`, which returns None for an unknown cache.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        local_cache(name).clear()
        return
    _done(node, await _ask(node, _call("clear", name)))


@awaited
async def cache_inc(key: str | bytes, value: int = 1, expires: float = 0, cache: str = "") -> int:
    """Add to a number. A missing item counts as `Cache.math_initial`.

    The change is atomic. A number is an item of 8 bytes: a signed little-endian integer, as in uWSGI.

    Args:
        key: as in `cache_set`.
        value: the number to add.
        expires: as in `cache_set`, for a new item; an existing item keeps its own expiry.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError: as `cache_set`; or the item is not a number, the new number has more than 64 bits, or the node is a
            uWSGI, whose remote arithmetic overwrites the number. The item is unchanged.
        TypeError: `value` is not an int.
        CacheFull, CacheItemTooLarge: as `cache_set`.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_inc`, which returns True, overflows, and overwrites the number in a cache of another node.
    """
    return await _arithmetic("inc", key, value, expires, cache)


@awaited
async def cache_dec(key: str | bytes, value: int = 1, expires: float = 0, cache: str = "") -> int:
    """Subtract from a number; otherwise as `cache_inc`.

    Args:
        key: as in `cache_inc`.
        value: the number to subtract.
        expires: as in `cache_inc`.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError, CacheFull, CacheItemTooLarge, NodeError, ConfigError, NotServing: as `cache_inc`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_dec`; the differences are those of `cache_inc`.
    """
    return await _arithmetic("dec", key, value, expires, cache)


@awaited
async def cache_mul(key: str | bytes, value: int = 2, expires: float = 0, cache: str = "") -> int:
    """Multiply a number; otherwise as `cache_inc`.

    Args:
        key: as in `cache_inc`.
        value: the factor.
        expires: as in `cache_inc`.
        cache: as in `cache_get`.
    Returns:
        The new number.
    Raises:
        CacheError, CacheFull, CacheItemTooLarge, NodeError, ConfigError, NotServing: as `cache_inc`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_mul`; the differences are those of `cache_inc`.
    """
    return await _arithmetic("mul", key, value, expires, cache)


@awaited
async def cache_div(key: str | bytes, value: int = 2, expires: float = 0, cache: str = "") -> int:
    """Divide a number and drop the fraction; otherwise as `cache_inc`.

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
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: as `cache_set`.
    uWSGI: `uwsgi.cache_div`, which stores 0 when it divides by 0.
    """
    return await _arithmetic("div", key, value, expires, cache)


@awaited
async def cache_num(key: str | bytes, cache: str = "") -> int:
    """Get the number that `cache_inc`, `cache_dec`, `cache_mul` or `cache_div` has stored.

    Args:
        key: as in `cache_get`.
        cache: as in `cache_get`.
    Returns:
        The number; 0 if there is no such item.
    Raises:
        CacheError: as `cache_get`, or the item is not a number.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.cache_num`, which returns 0 for an item that is not a number.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return local_cache(name).num(key)
    value = await cache_get(key, cache)
    if value is not None and len(value) != 8:
        raise CacheError(f"item {key!r} of node {node} is not a number: it has {len(value)} bytes, not 8")
    return int.from_bytes(value or b"", "little", signed=True)


@awaited
async def cache_keys(cache: str = "") -> list[bytes]:
    """List the keys of all items.

    Args:
        cache: as in `cache_get`.
    Raises:
        CacheError: as `cache_get`, or the node is a uWSGI, which does not list keys.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError, NotServing: as `cache_get`.
    Checkpoint: only when contended, as `cache_get`.
    Cancellation: nothing has changed.
    uWSGI: `uwsgi.cache_keys`, for local caches only.
    """
    name, at, node = as_text("the name of a cache", cache).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        return local_cache(name).keys()
    answer = await _ask(node, _call("keys", name))
    return decode_array(_done(node, answer).value or b"", _MOST_KEYS)


# ----- internals


async def _ask(node: str, call: CacheCall) -> CacheAnswer | Failure | None:
    answer = await ask_node(node, call, None)
    assert answer is None or isinstance(answer, CacheAnswer | Failure)
    return answer


async def _arithmetic(command: str, key: str | bytes, value: int, expires: float, cache_name: str) -> int:
    name, at, node = as_text("the name of a cache", cache_name).partition("@")
    if not at:
        await checkpoint_if_cancelled()
        found = local_cache(name)
        if command == "inc":  # first, because it is called far more often than the others
            return found.inc(key, value, expires)
        change = {"dec": found.dec, "mul": found.mul, "div": found.div}[command]
        return change(key, value, expires)
    check_operand(value)
    answer = await _ask(node, _call(command, name, key, b"%d" % value, expires))
    if answer is None:
        raise CacheError(
            f"node {node} did not change the number; a uWSGI is not asked to, because its remote arithmetic overwrites "
            f"numbers: use cache_get and cache_update"
        )
    return int(_done(node, answer).value or b"0")


def _call(command: str, name: str, key: str | bytes = b"", value: str | bytes = b"", expires: float = 0) -> CacheCall:
    """A call to another node. Its arguments are checked as they are for a local cache."""
    check_expiry(expires)
    return CacheCall(
        command=command,
        key=item_bytes("key", key),
        value=item_bytes("value", value),
        expires=0 if expires == math.inf else math.ceil(expires),
        cache=item_bytes("name", name),
    )


def _answers(answer: CacheAnswer | Failure | None, no: str) -> TypeGuard[CacheAnswer]:
    """Did the node answer yes? A failure of the kind `no` means no, and so does a uWSGI's missing answer.

    Raises:
        CacheError: another failure.
    """
    if isinstance(answer, Failure) and answer.kind != no:
        raise _error(answer)
    return isinstance(answer, CacheAnswer)


def _done(node: str, answer: CacheAnswer | Failure | None) -> CacheAnswer:
    if isinstance(answer, CacheAnswer):
        return answer
    raise _error(answer) if answer else CacheError(f"node {node} refused the call; a uWSGI gives no reason")


def _error(failure: Failure) -> CacheError:
    if failure.kind == "full":
        return CacheFull("", 0, failure.reason)
    if failure.kind == "too-large":
        return CacheItemTooLarge("", "value", 0, 0, failure.reason)
    return CacheError(failure.reason)
