"""What the decorators of signals make of a function: itself, and the number it was registered for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

__all__ = ["Registering", "SignalHandler"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SignalHandler(Protocol[T_co]):
    """A handler that a decorator has registered. It is the function that was decorated."""

    signum: int

    def __call__(self, signum: int, /) -> T_co: ...


class Registering(Protocol):
    """A decorator that registers a handler."""

    def __call__(self, handler: Callable[[int], T], /) -> SignalHandler[T]: ...
