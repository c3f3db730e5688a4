"""Which functions are awaited."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from trio_uwsgi._units.asynchrony import is_async

pytestmark = pytest.mark.pure


class AsyncCallable:
    async def __call__(self) -> None: ...

    async def method(self) -> None: ...


class Task:
    """Callable, with an attribute that only looks like a partial's."""

    func = staticmethod(AsyncCallable())

    def __call__(self) -> None: ...


async def coroutine_function() -> None: ...


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (coroutine_function, True),
        (functools.partial(coroutine_function), True),
        (functools.partial(functools.partial(AsyncCallable().method)), True),
        (AsyncCallable(), True),
        (AsyncCallable().method, True),
        (AsyncCallable, False),
        (lambda: None, False),
        (functools.partial(print), False),
        (print, False),
        (Task(), False),
    ],
)
def test_async_or_not(func: Callable[..., object], expected: bool) -> None:
    """A handler is awaited if it is a coroutine function under any partials, or an object with an async `__call__`."""
    assert expected is is_async(func)
