"""Types of the decorators for signals: they return the function itself, with the number of its signal. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

__all__ = ["Registering", "SignalHandler"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SignalHandler(Protocol[T_co]):
    """A handler that a decorator has registered: the decorated function itself."""

    signum: int

    def __call__(self, signum: int, /) -> T_co: ...


class Registering(Protocol):
    """A decorator that registers a handler."""

    def __call__(self, handler: Callable[[int], T], /) -> SignalHandler[T]: ...
