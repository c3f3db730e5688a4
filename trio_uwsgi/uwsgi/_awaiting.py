"""Makes it an error to call an async function of the API from synchronous code, which cannot await it.

Such code would get a coroutine that is never run, without any sign of that. So the call itself raises, and says what to
write: the function of `trio_uwsgi.sync`, or `await` in an async function. Below `greenback.await_`, code is async.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from trio.lowlevel import in_trio_task

from trio_uwsgi._apps.loop_detection import is_sync_code
from trio_uwsgi.errors import CannotWait

__all__ = ["awaited", "called_as"]

P = ParamSpec("P")
T = TypeVar("T")


def awaited(func: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate an `async def` of the API, so that synchronous code that calls it gets an error."""
    return called_as(f"uwsgi.{func.__name__}", f"sync.{func.__name__}", func)


def called_as(name: str, plain: str, func: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """As `awaited`, for a function that error texts call `name`; `plain` is what synchronous code calls."""

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        if not in_trio_task() or is_sync_code(sys._getframe(1)):
            of = " of trio_uwsgi" if plain.startswith("sync.") else ""
            remedy = f"write {plain}(...){of}, or await {name}(...) in an async function"
            raise CannotWait(f"{name}()", remedy, "synchronous code")
        return func(*args, **kwargs)

    return call
