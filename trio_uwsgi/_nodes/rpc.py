"""Calls RPC functions of this runtime, for its own members and for other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._units.calls import call_here, call_within
from trio_uwsgi._units.failures import split_failure
from trio_uwsgi._units.journal import summary
from trio_uwsgi.errors import RpcFailed, RpcNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_uwsgi._nodes.rpc_functions import RpcFunction
    from trio_uwsgi._units.unit import Unit

__all__ = ["WrongCount", "call_def", "call_function"]


class WrongCount(RpcFailed):
    """The call has the wrong number of arguments; the function was not called."""


async def call_function(unit: Unit, name: str, args: Sequence[bytes]) -> bytes:
    """Call a registered function as a part of `unit`.

    Checkpoints if the function does. A cancellation passes through it.

    Raises:
        RpcNotFound: there is no such function.
        RpcFailed: it raised (the cause), or did not return bytes; `WrongCount` if it was not called.
    """
    function = _find(unit, name, args)
    try:
        value = await call_within(unit, function, args)
    except BaseException as error:
        failure, passing = split_failure(error)
        if failure is None or passing is not None:
            raise
        raise RpcFailed(name, "", summary(failure)) from failure
    return _as_bytes(name, value)


def call_def(unit: Unit, name: str, args: Sequence[bytes]) -> bytes | None:
    """As `call_function`, for synchronous code, of which a `def` is a part: it is called in the calling thread. None:
    the function is async, and was not called.
    """
    function = _find(unit, name, args)
    if function.is_async:
        return None
    try:
        value = call_here(function, args)
    except (Exception, SystemExit) as error:  # a cancellation is one of the calling code
        raise RpcFailed(name, "", summary(error)) from error
    return _as_bytes(name, value)


def _find(unit: Unit, name: str, args: Sequence[bytes]) -> RpcFunction:
    function = unit.member.registry.rpc.get(name)
    if function is None:
        raise RpcNotFound(name, "")
    if function.argc and len(args) != function.argc:
        raise WrongCount(
            name, "", f"it takes {function.argc} argument{'s' * (function.argc != 1)}, but was given {len(args)}"
        )
    return function


def _as_bytes(name: str, value: object) -> bytes:
    if type(value) is bytes:  # first, because the other checks take longer than most calls
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise RpcFailed(name, "", f"it returned {type(value).__name__}; an RPC function returns bytes, or a str")
