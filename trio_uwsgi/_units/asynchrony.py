"""Whether a function of the application's waits for Trio. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

__all__ = ["is_async"]


def is_async(func: Callable[..., object]) -> bool:
    """Is this handler awaited, or does it need a thread? Looks through partials, bound methods and callable objects."""
    while isinstance(func, functools.partial):
        func = func.func
    called = getattr(type(func), "__call__", None)  # noqa: B004  # the method itself is wanted, not whether there is one
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(called)
