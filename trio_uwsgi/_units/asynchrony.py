"""Whether a function of the application is async. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

__all__ = ["is_async"]


def is_async(func: Callable[..., object]) -> bool:
    """Is this function awaited (True) or run in a thread? Handles partials, bound methods and callable objects."""
    while isinstance(func, functools.partial):
        func = func.func
    called = getattr(type(func), "__call__", None)  # noqa: B004  # the method itself is wanted, not whether there is one
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(called)
