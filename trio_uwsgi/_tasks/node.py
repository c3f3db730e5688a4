"""The client of other nodes: one call, one answer, over the uwsgi protocol. Floor 2.

A connection begins with a hello (`_wire/remote.py`). Another trio_uwsgi answers it, and the connection is kept for the
next call. A uWSGI closes: then each call gets a connection of its own, without a hello, and the node is remembered as
plain for a while.

No call is ever sent twice: the hello asks for nothing, and a kept connection that the node has closed is noticed before
it is used. One that closes after that may have made the call, and is an error.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._wire.answers import Answer, AnswerReader, Failure, HelloAnswer
from trio_uwsgi._wire.remote import HelloCall
from trio_uwsgi.addresses import Address
from trio_uwsgi.errors import (
    ConfigError,
    NodeClosed,
    NodeTimeout,
    NodeUnreachable,
    RemoteProtocolError,
    RpcFailed,
    RpcNotFound,
)

if TYPE_CHECKING:
    from trio_uwsgi._wire.remote import CacheCall, PingCall, RpcCall, SignalCall

    NodeCall = RpcCall | SignalCall | CacheCall | PingCall

__all__ = ["Nodes", "open_node"]

# Connections kept, of all nodes together; the one that was not used for the longest time goes first.
KEPT = 32
# How long a node that answered no hello is taken for a uWSGI.
PLAIN_SECONDS = 60.0
# Nodes remembered as plain.
PLAIN_NODES = 1024
# Kinds of failures after which our servers go on with the connection. After others they may close it.
HARMLESS = frozenset(("exists", "full", "not-found"))
# Bytes of the largest answer that is taken.
LARGEST = 64 * 1024 * 1024


class Nodes:
    """Connections to other nodes.

    Args:
        timeout: seconds for one call, where the caller says nothing.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._kept: OrderedDict[trio.SocketStream, str] = OrderedDict()
        self._plain: dict[str, float] = {}

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections until cancelled; then close them."""
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            self._kept.popitem()[0].socket.close()

    async def ask(self, node: str, call: NodeCall, timeout: float | None = None) -> Answer | None:
        """Make a call. A cancelled one closes its connection.

        Returns:
            The answer; a failure only of a kind that is not an error below. None: the node closed without a byte, which
            is how a uWSGI says no.
        Raises:
            RpcError, CacheError: the call is too large; nothing was sent.
            ConfigError: the node is not an address.
            NodeUnreachable: there is no connection; nothing was sent.
            NodeTimeout: the time was up.
            NodeClosed: the answer is cut off, or none.
            RpcNotFound, RpcFailed: the node says so.
        """
        limit = self._timeout if timeout is None else timeout
        if not limit > 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {limit!r}")
        address = Address.parse(node)
        if address.kind == "fd" or (address.kind == "tcp" and not (address.host and address.port)):
            raise ConfigError(f"{node!r} is not the address of a node", "write host:port, or the path of a unix socket")
        data = call.encode()
        with trio.move_on_after(limit):
            return await self._ask(node, address, call, data)
        raise NodeTimeout(node, f"it did not answer within {limit:g} s; what was asked may have been done or not")

    async def _ask(self, node: str, address: Address, call: NodeCall, data: bytes) -> Answer | None:
        stream = self._take(node)
        greeted = stream is not None
        if stream is None:
            stream, greeted = await self._connect(node, address)
        keep = False
        try:
            answer, reusable = await _exchange(node, stream, call, data)
            keep = greeted and reusable and (not isinstance(answer, Failure) or answer.kind in HARMLESS)
        finally:
            if keep:
                self._keep(node, stream)
            else:
                stream.socket.close()
        if answer is None and greeted:
            raise NodeClosed(
                node, "it closed the connection without an answer; what was asked may have been done or not"
            )
        if isinstance(answer, Failure):
            _raise_failure(node, call, answer)
        return answer

    # ----- connections

    def _take(self, node: str) -> trio.SocketStream | None:
        """The newest connection that is kept and lives. One that can be read has ended: nothing is due on it."""
        for stream in [stream for stream, known in reversed(self._kept.items()) if known == node]:
            del self._kept[stream]
            if not stream.socket.is_readable():
                return stream
            stream.socket.close()
        return None

    def _keep(self, node: str, stream: trio.SocketStream) -> None:
        self._kept[stream] = node
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)[0].socket.close()

    async def _connect(self, node: str, address: Address) -> tuple[trio.SocketStream, bool]:
        if trio.current_time() < self._plain.get(node, 0):
            return await open_node(node, address), False
        stream = await open_node(node, address)
        greeted = False
        try:
            hello = HelloCall()
            greeted = await _exchange(node, stream, hello, hello.encode()) == (HelloAnswer(), True)
        finally:
            if not greeted:
                stream.socket.close()
        if greeted:
            return stream, True
        if len(self._plain) >= PLAIN_NODES:
            self._plain.clear()
        self._plain[node] = trio.current_time() + PLAIN_SECONDS
        return await open_node(node, address), False


async def open_node(node: str, address: Address) -> trio.SocketStream:
    """Connect. A cancelled try leaves nothing.

    Raises:
        NodeUnreachable: it cannot be done.
    """
    try:
        if address.kind == "tcp":
            return await trio.open_tcp_stream(address.host, address.port)
        path = address.path
        sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        try:
            await sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.getpeername()  # a unix socket whose queue is full looks as if it had been connected
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)
    except (OSError, UnicodeError) as error:
        raise NodeUnreachable(node, f"no connection ({error}); nothing was sent") from error


async def _exchange(
    node: str, stream: trio.SocketStream, call: NodeCall | HelloCall, data: bytes
) -> tuple[Answer | None, bool]:
    """Send a call and read its answer, None where the connection ended instead; and say whether another may follow."""
    reader = AnswerReader(call, LARGEST)
    try:
        await stream.send_all(data)
        while piece := await stream.receive_some(65536):
            answer = reader.feed(bytes(piece))
            if answer is not None:
                return answer, not reader.rest
        return reader.feed_eof(), False
    except RemoteProtocolError as error:
        raise NodeClosed(node, f"its answer cannot be read: {error}") from error
    except trio.BrokenResourceError as error:
        if isinstance(call, HelloCall):
            return None, False
        raise NodeClosed(node, "the connection broke; what was asked may have been done or not") from error


def _raise_failure(node: str, call: NodeCall, failure: Failure) -> None:
    name = getattr(call, "name", b"").decode("utf-8", "replace")
    if failure.kind == "not-found" and name:
        raise RpcNotFound(name, node)
    if failure.kind == "failed" and name:
        raise RpcFailed(name, node, failure.reason)
