"""A function for remote procedure calls, and the rules for its name and arguments. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from trio_uwsgi._units.asynchrony import is_async
from trio_uwsgi.errors import RegistrationError

__all__ = ["RpcFunction", "check_rpc_name", "rpc_function"]

# The limits of the protocol: the length of a name in one byte, and 254 arguments.
LONGEST_RPC_NAME = 255
MOST_RPC_ARGUMENTS = 254


@dataclasses.dataclass(frozen=True, slots=True)
class RpcFunction:
    """One function for remote procedure calls; it takes `argc` arguments, 0 for any number."""

    name: str
    func: Callable[..., object]
    argc: int
    is_async: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", is_async(self.func))


def rpc_function(name: str, func: Callable[..., object], argc: int) -> RpcFunction:
    """Check a function that is to be registered.

    Raises:
        RegistrationError: it cannot be registered.
    """
    check_rpc_name(name)
    if not callable(func):
        raise RegistrationError(f"RPC function {name!r} must be callable, not {func!r}")
    if type(argc) is not int or not 0 <= argc <= MOST_RPC_ARGUMENTS:
        raise RegistrationError(f"RPC function {name!r}: argc is 1 to 254, or 0 for any number, not {argc!r}")
    return RpcFunction(name, func, argc)


def check_rpc_name(name: str) -> None:
    """Refuse names that cannot be sent; and a function, which means that a decorator lacks its parentheses."""
    if callable(name):
        name = getattr(name, "__name__", "name")
        raise RegistrationError(f"an RPC function needs the name that callers use: write @rpc_handler({name!r})")
    try:
        size = len(name.encode()) if isinstance(name, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= LONGEST_RPC_NAME:
        raise RegistrationError(f"{name!r} is not the name of an RPC function; use a str of 1 to 255 bytes as UTF-8")
