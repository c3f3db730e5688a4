"""Runs cache commands that other nodes send over the uwsgi protocol."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trio_uwsgi._protocol.packet import encode_array
from trio_uwsgi._protocol.remote_answers import CacheAnswer, Failure
from trio_uwsgi._protocol.remote_calls import OLD_DEL, OLD_SET, CacheCall, OldCacheCall
from trio_uwsgi.errors import CacheError, CacheFull, CacheItemTooLarge

if TYPE_CHECKING:
    from trio_uwsgi._caches.caches import Caches, LocalCache

__all__ = ["answer_cache_call"]

_DONE = CacheAnswer()
_NOTHING = Failure(kind="not-found", reason="there is no such item")


def answer_cache_call(caches: Caches, call: CacheCall | OldCacheCall) -> CacheAnswer | Failure:
    """Run the command and return its answer. Never waits."""
    try:
        if isinstance(call, OldCacheCall):
            return _do_old(caches.get(""), call)
        return _do(caches.get((call.cache or b"").decode("utf-8", "replace")), call)
    except CacheFull as error:
        return Failure(kind="full", reason=str(error))
    except CacheItemTooLarge as error:
        return Failure(kind="too-large", reason=str(error))
    except (CacheError, ValueError) as error:
        return Failure(kind="failed", reason=str(error))


def _do(cache: LocalCache, call: CacheCall) -> CacheAnswer | Failure:
    key = call.key
    match call.command:
        case "get":
            return _get(cache, key)
        case "set":
            exists = Failure(kind="exists", reason="there is such an item already")
            return _DONE if cache.set(key, call.value, call.expires) else exists
        case "update":
            cache.update(key, call.value, call.expires)
            return _DONE
        case "del":
            return _DONE if cache.delete(key) else _NOTHING
        case "exists":
            return _DONE if cache.exists(key) else _NOTHING
        case "clear":
            cache.clear()
            return _DONE
        case "keys":
            return CacheAnswer(value=encode_array(cache.keys()))
        case "num":
            number = cache.num(key)
        case command:
            change = {"inc": cache.inc, "dec": cache.dec, "mul": cache.mul, "div": cache.div}[command]
            number = change(key, call.operand, call.expires)
    return CacheAnswer(value=b"%d" % number)


def _do_old(cache: LocalCache, call: OldCacheCall) -> CacheAnswer | Failure:
    if call.form == OLD_SET:
        cache.set(call.key, call.value)
    elif call.form == OLD_DEL:
        cache.delete(call.key)
    else:
        return _get(cache, call.key)
    return _DONE


def _get(cache: LocalCache, key: bytes) -> CacheAnswer | Failure:
    item = cache.item(key)
    if item is None:
        return _NOTHING
    value, expires = item
    # A whole second at which the item still exists; not 0, which means never.
    return CacheAnswer(value=value, expires=0 if expires == math.inf else max(1, int(expires)))
