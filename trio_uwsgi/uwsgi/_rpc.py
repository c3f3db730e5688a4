"""The API of remote procedure calls, and of signals to other nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from trio.lowlevel import checkpoint_if_cancelled

from trio_uwsgi._nodes.rpc import call_def, call_function
from trio_uwsgi._nodes.rpc_functions import check_rpc_name
from trio_uwsgi._protocol.remote_answers import Answer, Failure, RpcAnswer, SignalAnswer
from trio_uwsgi._protocol.remote_calls import RpcCall, SignalCall, check_rpc_call
from trio_uwsgi._signals.handlers import check_signum
from trio_uwsgi.errors import NodeClosed, RpcError, SignalRefused
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import ask_node, current_registry, current_unit, on_trios_thread
from trio_uwsgi.uwsgi._waiting import may_block

__all__ = ["call", "register_rpc", "remote_signal", "rpc", "rpc_handler", "rpc_list"]

F = TypeVar("F", bound=Callable[..., object])

_REMEDY = "RPC functions run in a member; from elsewhere use rpc() with the node's address"


def register_rpc(name: str, func: Callable[..., object], argc: int = 0) -> None:
    """Register a function for remote procedure calls; the decorator `rpc_handler` is the shorter way.

    Args:
        name: the name that callers use, 1 to 255 bytes as UTF-8.
        func: `async def`, or `def`, which runs in a thread: that of the caller, if it is synchronous code of this
            runtime. It is called with bytes, and returns bytes, or a str that
            is sent as UTF-8.
        argc: the number of arguments that it takes, 1 to 254; 0 for any number.
    Raises:
        RegistrationError: an argument is not valid, or the name is taken. In a running member a name that is taken is
            not an error: its function is replaced.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.register_rpc`, which does not check `argc`, and silently replaces a function of the same name.
    """
    on_trios_thread(lambda: current_registry().register_rpc(name, func, argc))


def rpc_handler(name: str, argc: int = 0) -> Callable[[F], F]:
    """Decorate a function for remote procedure calls.

    Args:
        name: as in `register_rpc`.
        argc: as in `register_rpc`.
    Returns:
        The function itself, so decorators stack.
    Raises:
        RegistrationError: as `register_rpc`. A name that is missing or not valid is refused at once.
    Checkpoint: never.
    uWSGI: `uwsgidecorators.rpc`, which has no `argc`.
    Example:
        @uwsgi.rpc_handler("add", argc=2)
        async def add(a, b):
            return str(int(a) + int(b))
    """
    check_rpc_name(name)

    def register(func: F) -> F:
        register_rpc(name, func, argc)
        return func

    return register


def rpc_list() -> tuple[str, ...]:
    """Return the names of this runtime's RPC functions, in the order of registration.

    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.rpc_list`, which returns bytes.
    """
    return on_trios_thread(lambda: tuple(current_registry().rpc))


@awaited
async def call(name: str | bytes, *args: str | bytes) -> bytes:
    """Call an RPC function of this runtime. It runs in the calling member, as a part of this request or handler.

    Args:
        name: the name of the function.
        args: bytes, or str that are passed as UTF-8. There are at most 254 of them, and 65,535 bytes including the
            name, as over the network.
    Returns:
        What the function returned, as bytes.
    Raises:
        RpcError: the name or the arguments exceed these limits, or are of another type; nothing was called.
        RpcNotFound: there is no such function.
        RpcFailed: the function raised (`__cause__` is its exception), does not take this number of arguments, or did
            not return bytes.
        NotServing: called neither by a member nor in the application's import.
    Checkpoint: only when contended. A pending cancellation is always raised; other tasks run only if the function waits
        or runs in a thread.
    Cancellation: the function is cancelled.
    uWSGI: `uwsgi.call`, which takes bytes only, and returns None for each of these errors and for an empty result.
    """
    unit = current_unit("call", _REMEDY)
    await checkpoint_if_cancelled()
    called, values = _local_call(name, args)
    return await call_function(unit, called, values)


def call_plainly(name: str | bytes, *args: str | bytes) -> bytes | None:
    """As `call`, for synchronous code that may block: a `def` runs in the calling thread. None: nothing was called,
    because the function is async, or the calling code may not block.
    """
    if not may_block():
        return None
    unit = current_unit("call", _REMEDY)
    called, values = _local_call(name, args)
    return call_def(unit, called, values)


def _local_call(name: str | bytes, args: Sequence[str | bytes]) -> tuple[str, list[bytes]]:
    """Check a call by the same limits as for another node."""
    called = _as_bytes("the name", name)
    values = [_as_bytes("an argument", arg) for arg in args]
    check_rpc_call(called, values)
    return called.decode("utf-8", "replace"), values


@awaited
async def rpc(node: str | None, name: str | bytes, *args: str | bytes, timeout: float | None = None) -> bytes:
    """Call an RPC function of another node: a trio_uwsgi or a uWSGI that listens for the uwsgi protocol.

    This works in any Trio program. In a member, the connection to a trio_uwsgi node is kept open for the next call.

    Args:
        node: `host:port`, `[v6]:port`, the path of a unix socket, or `@name` of an abstract one. With None or `""` this
            function does the same as `call`.
        name: as in `call`.
        args: as in `call`.
        timeout: seconds for the whole call, above 0; without it `Config.node_timeout`.
    Returns:
        What the function returned.
    Raises:
        RpcError: as `call`; nothing was sent.
        RpcNotFound, RpcFailed: as `call`, with the reason that the node sent.
        NodeUnreachable: the node cannot be connected to; nothing was sent.
        NodeTimeout: the timeout passed; the function may or may not have been called.
        NodeClosed: the node closed the connection without an answer. A uWSGI node does so if there is no such function,
            if the function failed, and if its result is empty.
        ConfigError: `node` is not an address.
    Checkpoint: always; without a node, as `call`.
    Cancellation: the connection is closed; the function may or may not have been called.
    uWSGI: `uwsgi.rpc`, which returns None for each of these errors, cuts arguments that do not fit into a packet, and
        opens a connection for each call.
    """
    if not node:
        return await call(name, *args)
    asked = _rpc_call(name, args)
    answer = await ask_node(node, asked, timeout)
    if not isinstance(answer, RpcAnswer):
        raise _unanswered(node, answer)
    return answer.result


def _unanswered(node: str, answer: Answer | None) -> NodeClosed | SignalRefused:
    if isinstance(answer, Failure):
        return (SignalRefused if answer.kind == "full" else NodeClosed)(node, answer.reason)
    return NodeClosed(
        node,
        "it closed the connection without an answer; a uWSGI does so for an unknown function, a function that failed, "
        "and an empty result",
    )


def _rpc_call(name: str | bytes, args: tuple[str | bytes, ...]) -> RpcCall:
    return RpcCall(name=_as_bytes("the name", name), args=tuple([_as_bytes("an argument", arg) for arg in args]))


def _as_bytes(what: str, value: object) -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise RpcError(f"{what} of an RPC call is {value!r}, which is not UTF-8 ({error}); pass bytes") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise RpcError(f"{what} of an RPC call is bytes or str, not {type(value).__name__}; encode it first")


@awaited
async def remote_signal(signum: int, node: str, *, timeout: float | None = None) -> None:
    """Raise a uwsgi signal at another node: a trio_uwsgi or a uWSGI that listens for the uwsgi protocol.

    When this returns, the node has accepted the signal. Whether it has a handler for the signal stays unknown.

    Args:
        signum: 0 to 255.
        node: as in `rpc`.
        timeout: as in `rpc`.
    Raises:
        RegistrationError: `signum` is not 0 to 255.
        SignalRefused: the node's queue is full.
        NodeUnreachable, NodeTimeout, NodeClosed, ConfigError: as `rpc`.
    Checkpoint: always.
    Cancellation: the connection is closed; the signal may or may not have been raised.
    uWSGI: `uwsgi.signal(signum, node)`, which blocks the process, and does not say what went wrong.
    """
    check_signum(signum)
    answer = await ask_node(node, SignalCall(signum=signum), timeout)
    if not isinstance(answer, SignalAnswer):
        raise _unanswered(node, answer)
    if not answer.accepted:
        raise SignalRefused(
            node, f"it did not accept signal {signum}: its queue is full, or it accepts no signals from this address"
        )
