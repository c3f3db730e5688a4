"""Caches for synchronous code: any thread uses local ones directly, and waits only for those of other nodes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trio_uwsgi.uwsgi import _caches
from trio_uwsgi.uwsgi._base import as_text
from trio_uwsgi.uwsgi._caches import local_cache as local
from trio_uwsgi.uwsgi._waiting import wait_as

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

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


def _remote(func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Wait for a cache of another node."""
    return wait_as(f"sync.{getattr(func, '__name__', '')}()", partial(func, *args, **kwargs))


def _is_local(cache: str) -> bool:
    return "@" not in as_text("the name of a cache", cache)


def cache_get(key: str | bytes, cache: str = "") -> bytes | None:
    """Get the value of an item; as `uwsgi.cache_get`."""
    return local(cache).get(key) if _is_local(cache) else _remote(_caches.cache_get, key, cache)


def cache_set(key: str | bytes, value: str | bytes, expires: float = 0, cache: str = "") -> bool:
    """Store a new item; as `uwsgi.cache_set`."""
    if _is_local(cache):
        return local(cache).set(key, value, expires)
    return _remote(_caches.cache_set, key, value, expires, cache)


def cache_update(key: str | bytes, value: str | bytes, expires: float = 0, cache: str = "") -> None:
    """Store an item, or replace it; as `uwsgi.cache_update`."""
    if _is_local(cache):
        local(cache).update(key, value, expires)
    else:
        _remote(_caches.cache_update, key, value, expires, cache)


def cache_del(key: str | bytes, cache: str = "") -> bool:
    """Delete an item; as `uwsgi.cache_del`."""
    return local(cache).delete(key) if _is_local(cache) else _remote(_caches.cache_del, key, cache)


def cache_exists(key: str | bytes, cache: str = "") -> bool:
    """Return whether an item with this key exists; as `uwsgi.cache_exists`."""
    return local(cache).exists(key) if _is_local(cache) else _remote(_caches.cache_exists, key, cache)


def cache_clear(cache: str = "") -> None:
    """Delete all items of a cache; as `uwsgi.cache_clear`."""
    if _is_local(cache):
        local(cache).clear()
    else:
        _remote(_caches.cache_clear, cache)


def cache_inc(key: str | bytes, value: int = 1, expires: float = 0, cache: str = "") -> int:
    """Add to a number, and return the new one; as `uwsgi.cache_inc`."""
    if _is_local(cache):
        return local(cache).inc(key, value, expires)
    return _remote(_caches.cache_inc, key, value, expires, cache)


def cache_dec(key: str | bytes, value: int = 1, expires: float = 0, cache: str = "") -> int:
    """Subtract from a number, and return the new one; as `uwsgi.cache_dec`."""
    if _is_local(cache):
        return local(cache).dec(key, value, expires)
    return _remote(_caches.cache_dec, key, value, expires, cache)


def cache_mul(key: str | bytes, value: int = 2, expires: float = 0, cache: str = "") -> int:
    """Multiply a number, and return the new one; as `uwsgi.cache_mul`."""
    if _is_local(cache):
        return local(cache).mul(key, value, expires)
    return _remote(_caches.cache_mul, key, value, expires, cache)


def cache_div(key: str | bytes, value: int = 2, expires: float = 0, cache: str = "") -> int:
    """Divide a number, and return the new one; as `uwsgi.cache_div`."""
    if _is_local(cache):
        return local(cache).div(key, value, expires)
    return _remote(_caches.cache_div, key, value, expires, cache)


def cache_num(key: str | bytes, cache: str = "") -> int:
    """Get a number; as `uwsgi.cache_num`."""
    return local(cache).num(key) if _is_local(cache) else _remote(_caches.cache_num, key, cache)


def cache_keys(cache: str = "") -> list[bytes]:
    """List the keys of all items; as `uwsgi.cache_keys`."""
    return local(cache).keys() if _is_local(cache) else _remote(_caches.cache_keys, cache)
