"""A registered signal, and types of the decorators for signals: they return the function itself, with the number of its
signal. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from trio_uwsgi._units.asynchrony import is_async
from trio_uwsgi.errors import RegistrationError

if TYPE_CHECKING:
    from trio_uwsgi._signals.targets import Target

__all__ = ["SIGNALS", "Handler", "Registering", "Signal", "SignalHandler", "check_signum"]

Handler = Callable[[int], object]

# The numbers are one byte on uWSGI's wire.
SIGNALS = 256

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SignalHandler(Protocol[T_co]):
    """A handler that a decorator has registered: the decorated function itself."""

    signum: int

    def __call__(self, signum: int, /) -> T_co: ...


class Registering(Protocol):
    """A decorator that registers a handler."""

    def __call__(self, handler: Callable[[int], T], /) -> SignalHandler[T]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """One registered signal."""

    signum: int
    target: Target
    handler: Handler
    is_async: bool = dataclasses.field(init=False)  # looked at once: `is_async` costs more than a short handler

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", is_async(self.handler))


def check_signum(signum: int) -> None:
    """Refuse what is not 0 to 255; uWSGI takes it modulo 256, so that 300 raises 44."""
    if not isinstance(signum, int) or isinstance(signum, bool) or not 0 <= signum < SIGNALS:
        raise RegistrationError(f"{signum!r} is not a uwsgi signal; use a whole number from 0 to 255")
