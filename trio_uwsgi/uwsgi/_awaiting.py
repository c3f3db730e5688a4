"""What becomes of a call of the API that is to be awaited, when synchronous code makes it.

Such code would get a coroutine that nobody runs: nothing would be done, and nobody told. In a thread the call is
refused at once, with the way to make it. On Trio's own thread, where code may be about to give the coroutine to
`greenback.await_`, it is watched: one that is asked for its truth, or thrown away before it began, is an error.
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

_WHO = "synchronous code"


def awaited(func: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate an `async def` of the API, so that synchronous code that calls it is told how."""
    return called_as(f"uwsgi.{func.__name__}", func)


def called_as(name: str, func: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """As `awaited`, for a function that users know under this name."""

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        if not in_trio_task():
            raise CannotWait(f"{name}()", f"write trio.from_thread.run({name}, ...){_plainly(name)}", _WHO)
        if is_sync_code(sys._getframe(1)):
            if greenback is None or not greenback.has_portal():
                how = f"set threads=1 or more, and write trio.from_thread.run({name}, ...)"
                raise CannotWait(f"{name}()", f"{how}, or install greenback{_plainly(name)}", _WHO)
            return _Watched(name, func(*args, **kwargs))
        return func(*args, **kwargs)

    return call


def _plainly(name: str) -> str:
    """The plain alternative, where there is one."""
    _, is_cache, what = name.partition("uwsgi.cache_")
    return f", or uwsgi.cache().{'delete' if what == 'del' else what}(...), which never waits" if is_cache else ""


class _Watched(Coroutine[Any, Any, T]):
    """A coroutine that code on Trio's own thread has, and has to give to greenback."""

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, T]) -> None:
        self._name = name
        self._coroutine = coroutine
        self._begun = False

    @property
    def _how(self) -> str:
        return f"write greenback.await_({self._name}(...)){_plainly(self._name)}"

    def __bool__(self) -> bool:
        raise CannotWait(f"{self._name}()", self._how, _WHO)

    def __await__(self) -> Generator[Any, Any, T]:
        self._begun = True
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        self._begun = True
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._begun = True
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._begun = True
        self._coroutine.close()

    def __del__(self) -> None:
        if not self._begun:
            self._coroutine.close()
            logger.error(
                "%s() was called by synchronous code and not awaited: nothing was done; %s", self._name, self._how
            )
