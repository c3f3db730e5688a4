"""Remote procedure calls of the module `uwsgi`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import as_address, as_name, whole
from trio_uwsgi.compat.calling import current_member, waiting
from trio_uwsgi.errors import ConfigError, NodeError, RegistrationError, RpcError
from trio_uwsgi.uwsgi._base import current_registry, on_trios_thread
from trio_uwsgi.uwsgi._rpc import call_plainly

__all__ = ["call", "register_rpc", "rpc", "rpc_list"]

logger = logging.getLogger("trio_uwsgi")

# More do not fit into a packet.
_MOST_ARGUMENTS = 254


def register_rpc(name: str, func: Callable[..., object], arg_count: int = 0, /) -> Literal[True]:
    """Register a function for remote procedure calls, or replace the one of this name.

    uWSGI: what cannot be called is refused here; there the calls fail. `arg_count` has no effect in either.
    """
    as_name("register_rpc", name)
    whole(arg_count)
    member = current_member()
    if member is not None and member.kind != "worker":
        raise RegistrationError(f"only the application's import and workers register functions, not {member.name}")
    on_trios_thread(_declare, name, func)
    return True


def _declare(name: str, func: Callable[..., object]) -> None:
    registry = current_registry()
    replaced = registry.rpc.pop(name, None)
    try:
        registry.register_rpc(name, func)
    except RegistrationError:
        if replaced is not None:
            registry.rpc[name] = replaced
        raise


def rpc(node: str | bytes | None, rpc_name: bytes, /, *rpc_args: bytes) -> bytes | None:
    """Call a function here, or at another node; None for every failure and for an empty result.

    uWSGI: arguments that do not fit into a packet raise `RpcError`; there they are cut. Why a call failed is logged.
    """
    _check((rpc_name, *rpc_args))
    address = node.decode("latin-1") if isinstance(node, bytes) else node
    return _ask(as_address(address) if isinstance(address, str) else None, rpc_name, rpc_args)


def call(rpc_name: bytes, /, *args: bytes) -> bytes | None:
    """Call a function of this runtime; None for every failure and for an empty result.

    uWSGI: as `rpc`.
    """
    _check((rpc_name, *args))
    return _ask(None, rpc_name, args)


def rpc_list() -> tuple[bytes, ...]:
    """List the names of the functions."""
    return tuple(name.encode() for name in native.rpc_list())


def _check(words: tuple[bytes, ...]) -> None:
    for word in words:
        if not isinstance(word, bytes):
            raise RpcError(f"the name and the arguments of an RPC call are bytes, not {type(word).__name__}")
    if len(words) > _MOST_ARGUMENTS + 1:
        raise RpcError(f"an RPC call has at most {_MOST_ARGUMENTS} arguments, not {len(words) - 1}")
    if (size := sum(len(word) + 2 for word in words)) > 65535:
        raise RpcError(f"the name and the arguments of an RPC call have at most 65535 bytes with lengths, not {size}")


def _ask(node: str | None, name: bytes, args: tuple[bytes, ...]) -> bytes | None:
    try:
        if not node and (result := call_plainly(name, *args)) is not None:
            return result or None
        return waiting(native.rpc, node, name, *args) or None
    except (RpcError, NodeError, ConfigError) as error:
        logger.warning("uwsgi.rpc: %s", error)
        return None
