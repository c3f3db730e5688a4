"""Caches of the module `uwsgi`. Those of this runtime are used directly, from any thread."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar, TypeVarTuple

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import TrueOrNone, as_address, as_data, as_name, true_or_none, whole
from trio_uwsgi.compat.calling import serving_member, waiting
from trio_uwsgi.errors import CacheError, CacheFull, CacheItemTooLarge, ConfigError, NodeError

if TYPE_CHECKING:
    from trio_uwsgi._caches.caches import LocalCache
    from trio_uwsgi.compat.answers import Data

__all__ = [
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

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("trio_uwsgi")


def cache_get(key: Data, cache_name: str = "", /) -> bytes | None:
    """Get the value of an item; None if there is none, and for an unknown cache or a node that does not answer.

    uWSGI: an item is not returned after its time; there it is, until the next sweep.
    """
    data = key if type(key) is bytes else as_data("cache_get", key)
    if "@" in as_name("cache_get", cache_name):
        return _remote(native.cache_get, data, _node(cache_name))
    cache = _cache("cache_get", cache_name)
    return None if cache is None else cache.get(data)


def cache_set(key: Data, value: Data, expires: int = 0, cache_name: str = "", /) -> TrueOrNone:
    """Store a new item; None if it was not stored, as for a key that exists or a cache that is full."""
    return _store("cache_set", "set", key, value, expires, cache_name)


def cache_update(key: Data, value: Data, expires: int = 0, cache_name: str = "", /) -> TrueOrNone:
    """Store an item, or replace it; None if it was not stored."""
    return _store("cache_update", "update", key, value, expires, cache_name)


def cache_del(key: Data, cache_name: str = "", /) -> TrueOrNone:
    """Delete an item; None if there is none."""
    data = as_data("cache_del", key)
    if "@" in as_name("cache_del", cache_name):
        return true_or_none(_remote(native.cache_del, data, _node(cache_name)))
    cache = _cache("cache_del", cache_name)
    return None if cache is None else true_or_none(cache.delete(data))


def cache_exists(key: Data, cache_name: str = "", /) -> TrueOrNone:
    """Tell whether an item exists: True or None."""
    data = as_data("cache_exists", key)
    if "@" in as_name("cache_exists", cache_name):
        return true_or_none(_remote(native.cache_exists, data, _node(cache_name)))
    cache = _cache("cache_exists", cache_name)
    return None if cache is None else true_or_none(cache.exists(data))


def cache_clear(cache_name: str = "", /) -> TrueOrNone:
    """Delete all items of a cache; None if there is no such cache."""
    if "@" in as_name("cache_clear", cache_name):
        return _remote(_cleared, _node(cache_name))
    cache = _cache("cache_clear", cache_name)
    if cache is None:
        return None
    cache.clear()
    return True


def cache_inc(key: Data, increment: int = 1, expires: int = 0, cache_name: str = "", /) -> TrueOrNone:
    """Add to a number; a new item begins with the cache's `math_initial`.

    uWSGI: what is no number, a number beyond 64 bits and a division by 0 raise `CacheError`; there they destroy the
        number. In a cache of a uWSGI node it is refused; there it overwrites the number.
    """
    return _change("inc", key, increment, expires, cache_name)


def cache_dec(key: Data, decrement: int = 1, expires: int = 0, cache_name: str = "", /) -> TrueOrNone:
    """Subtract from a number.

    uWSGI: as `cache_inc`.
    """
    return _change("dec", key, decrement, expires, cache_name)


def cache_mul(key: Data, factor: int = 2, expires: int = 0, cache_name: str = "", /) -> TrueOrNone:
    """Multiply a number.

    uWSGI: as `cache_inc`.
    """
    return _change("mul", key, factor, expires, cache_name)


def cache_div(key: Data, divisor: int = 2, expires: int = 0, cache_name: str = "", /) -> TrueOrNone:
    """Divide a number, and drop the fraction.

    uWSGI: as `cache_inc`.
    """
    return _change("div", key, divisor, expires, cache_name)


def cache_num(key: Data, cache_name: str = "", /) -> int:
    """Get a number; 0 if there is none, or the item is not a number."""
    data = as_data("cache_num", key)
    try:
        if "@" in as_name("cache_num", cache_name):
            return _remote(native.cache_num, data, _node(cache_name)) or 0
        cache = _cache("cache_num", cache_name)
        return 0 if cache is None else cache.num(data)
    except CacheError:
        return 0


def cache_keys(cache_name: str = "", /) -> list[bytes]:
    """List the keys of a cache of this runtime.

    Raises:
        CacheError: there is no such cache. It is a ValueError.
    """
    return serving_member("cache_keys").services.caches.get(as_name("cache_keys", cache_name)).keys()


# ----- internals


def _cache(call: str, name: str) -> LocalCache | None:
    caches = serving_member(call).services.caches
    try:
        return caches.get(name)
    except CacheError:
        return None


def _store(call: str, how: str, key: Data, value: Data, expires: int, name: str) -> TrueOrNone:
    data, item = as_data(call, key), as_data(call, value)
    seconds = max(whole(expires), 0)  # a negative one is so large in uWSGI that the item never expires
    if "@" in as_name(call, name):
        if how == "set":
            return true_or_none(_remote(native.cache_set, data, item, seconds, _node(name)))
        return _remote(_updated, data, item, seconds, _node(name))
    cache = _cache(call, name)
    if cache is None or not data or not item:
        return None
    try:
        if how == "set":
            return true_or_none(cache.set(data, item, seconds))
        cache.update(data, item, seconds)
    except CacheItemTooLarge:
        return None
    except CacheFull as error:
        logger.warning("uwsgi.%s: %s", call, error)
        return None
    return True


def _change(how: str, key: Data, value: int, expires: int, name: str) -> TrueOrNone:
    call = f"cache_{how}"
    data, operand, seconds = as_data(call, key), whole(value), max(whole(expires), 0)
    if "@" in as_name(call, name):
        waiting(getattr(native, call), data, operand, seconds, _node(name))
        return True
    cache = _cache(call, name)
    if cache is None or not data:
        return None
    try:
        getattr(cache, how)(data, operand, seconds)
    except (CacheFull, CacheItemTooLarge):
        return None
    return True


def _node(name: str) -> str:
    cache, _, address = name.partition("@")
    return f"{cache}@{as_address(address)}"


def _remote(func: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T | None:
    """Ask another node; None for every failure."""
    try:
        return waiting(func, *args)
    except (CacheError, NodeError, ConfigError) as error:
        logger.debug("uwsgi.%s: %s", getattr(func, "__name__", "cache"), error)
        return None


async def _cleared(name: str) -> Literal[True]:
    await native.cache_clear(name)
    return True


async def _updated(key: bytes, value: bytes, expires: int, name: str) -> Literal[True]:
    await native.cache_update(key, value, expires, name)
    return True
