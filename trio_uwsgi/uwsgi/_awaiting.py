"""Makes it an error to call an async function of the API from synchronous code without awaiting it.

Such code would get a coroutine that is never run, without any sign of that. In a thread the call raises at once, and
says how to make it. On Trio's own thread the code may be about to pass the coroutine to `greenback.await_`. There the
coroutine is wrapped: testing its truth raises, and if it is dropped before it was started, an error is logged.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar

from trio.lowlevel import in_trio_task

from trio_uwsgi._apps.loop_detection import is_sync_code
from trio_uwsgi._apps.wsgi_inline_exchange import greenback
from trio_uwsgi.errors import CannotWait

__all__ = ["awaited"]

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("trio_uwsgi")

_CALLER = "synchronous code"


def awaited(func: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate an `async def` of the API, so that synchronous code that calls it wrongly gets an error."""
    return called_as(f"uwsgi.{func.__name__}", func)


def called_as(
    name: str, func: Callable[P, Coroutine[Any, Any, T]], passed: str = ""
) -> Callable[P, Coroutine[Any, Any, T]]:
    """As `awaited`, for a function that error texts call `name`; `passed` is how it is passed to a thread's call."""
    passed = passed or f"{name}, ..."

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        if not in_trio_task():
            raise CannotWait(f"{name}()", f"write trio.from_thread.run({passed}){_or_plain_call(name)}", _CALLER)
        if is_sync_code(sys._getframe(1)):
            if greenback is None or not greenback.has_portal():
                how = f"set threads=1 or more, and write trio.from_thread.run({passed})"
                raise CannotWait(f"{name}()", f"{how}, or install greenback{_or_plain_call(name)}", _CALLER)
            return _Watched(name, func(*args, **kwargs))
        return func(*args, **kwargs)

    return call


def _or_plain_call(name: str) -> str:
    """The part of an error text that names the plain function that does the same, if there is one."""
    _, is_cache, what = name.partition("uwsgi.cache_")
    return f", or uwsgi.cache().{'delete' if what == 'del' else what}(...), which never blocks" if is_cache else ""


class _Watched(Coroutine[Any, Any, T]):
    """A coroutine that synchronous code on Trio's own thread has to pass to greenback."""

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, T]) -> None:
        self._name = name
        self._coroutine = coroutine
        self._started = False

    @property
    def _remedy(self) -> str:
        return f"write greenback.await_({self._name}(...)){_or_plain_call(self._name)}"

    def __bool__(self) -> bool:
        raise CannotWait(f"{self._name}()", self._remedy, _CALLER)

    def __await__(self) -> Generator[Any, Any, T]:
        self._started = True
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        self._started = True
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._started = True
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._started = True
        self._coroutine.close()

    def __del__(self) -> None:
        if not self._started:
            self._coroutine.close()
            logger.error(
                "%s() was called by synchronous code and not awaited, so it did nothing; %s", self._name, self._remedy
            )
