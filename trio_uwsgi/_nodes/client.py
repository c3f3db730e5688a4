"""The client of other nodes: one call, one answer, over the uwsgi protocol.

A connection begins with a hello (`_protocol/remote_calls.py`). A trio_uwsgi node answers it, and the connection is kept
for the next call. A uWSGI node closes the connection: then, for `NO_HELLO_SECONDS`, each call to that node gets a
connection of its own, without a hello.

No call is ever sent twice: the hello has no effect, and a kept connection is checked before it is used. If the node
closes it after that, the call may have been done, and an error says so.
"""

from __future__ import annotations

import errno
import functools
import select
import socket
from collections import OrderedDict
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import checkpoint_if_cancelled, wait_readable, wait_writable

from trio_uwsgi._http.deadlines import Deadlines
from trio_uwsgi._protocol.remote_answers import Answer, AnswerReader, Failure, HelloAnswer
from trio_uwsgi._protocol.remote_calls import HelloCall
from trio_uwsgi.config.addresses import Address
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
    from trio_uwsgi._protocol.remote_calls import CacheCall, PingCall, RpcCall, SignalCall, SpoolCall

    NodeCall = RpcCall | SignalCall | SpoolCall | CacheCall | PingCall

__all__ = ["Nodes", "open_node"]

# Connections kept, for all nodes together; beyond, the least recently used one is closed. If more calls than this are
# made at once all the time, each of the others pays for a new connection.
KEPT = 256
# Seconds for which a node that did not answer a hello gets none.
NO_HELLO_SECONDS = 60.0
# How many such nodes are remembered.
NO_HELLO_NODES = 1024
# Kinds of failures after which a trio_uwsgi node keeps the connection open. After others it may close it.
HARMLESS = frozenset(("exists", "full", "not-found"))
# Bytes of the largest answer that is accepted.
LARGEST = 64 * 1024 * 1024
RECEIVE = 65536


class _Connection:
    """One connection to a node, for one call at a time.

    It uses the socket directly and waits for it with Trio: each layer in between would cost as much as the call.

    Args:
        node: as the caller wrote it.
        sock: in non-blocking mode.
    """

    __slots__ = ("_timed_out", "greeted", "node", "socket")

    def __init__(self, node: str, sock: socket.socket) -> None:
        self.node = node
        self.socket = sock
        self.greeted = False  # the node is trio_uwsgi: many calls per connection
        self._timed_out: NodeTimeout | None = None

    @property
    def alive(self) -> bool:
        """Between calls: is it open? It is not if it can be read, as no answer is due."""
        poll = select.poll()  # select() takes no descriptors from 1024 on
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def expire(self, error: NodeTimeout) -> None:
        """End the running call with this error."""
        self._timed_out = error
        trio.lowlevel.notify_closing(self.socket)

    async def exchange(self, call: NodeCall | HelloCall, data: bytes) -> tuple[Answer | None, bool]:
        """Send a call. Returns its answer (None if the connection ended instead), and whether another call may follow.

        Checkpoints after it has sent. After any exception the connection is unusable.
        """
        reader = AnswerReader(call, LARGEST)
        try:
            await self._send(data)
            while piece := await self._receive():
                answer = reader.feed(piece)
                if answer is not None:
                    return answer, not reader.rest
            return reader.feed_eof(), False
        except RemoteProtocolError as error:
            raise NodeClosed(self.node, f"its answer cannot be read: {error}") from error
        except trio.ClosedResourceError:
            assert self._timed_out is not None, "only a timeout closes it during a call"
            raise self._timed_out from None
        except OSError as error:
            if isinstance(call, HelloCall):
                return None, False
            raise NodeClosed(self.node, "the connection broke; the call may have been done or not") from error

    async def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while True:
            try:
                sent = self.socket.send(left)
            except BlockingIOError:
                sent = 0
            if sent == len(left):
                return
            left = left[sent:]
            self._check_time()
            await wait_writable(self.socket)

    async def _receive(self) -> bytes:
        while True:
            self._check_time()
            await wait_readable(self.socket)
            try:
                return self.socket.recv(RECEIVE)
            except BlockingIOError:  # a socket that was readable may have nothing to read
                continue

    def _check_time(self) -> None:
        """Raise if the call has timed out: `expire` wakes the task only while it waits for the socket."""
        if self._timed_out is not None:
            raise self._timed_out


class Nodes:
    """Connections to other nodes.

    Args:
        timeout: seconds for one call, unless the caller gives another.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._kept: OrderedDict[_Connection, None] = OrderedDict()
        self._without_hello: dict[str, float] = {}
        self._calls: Deadlines[_Connection] = Deadlines(timeout, self._expire)
        self._serving = False

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the deadlines of calls until cancelled; then close the connections."""
        task_status.started()
        self._serving = True
        try:
            await self._calls.serve()
        finally:
            self._serving = False
            self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            self._kept.popitem()[0].socket.close()

    async def ask(self, node: str, call: NodeCall, timeout: float | None = None) -> Answer | None:
        """Make a call. A cancellation closes its connection.

        Returns:
            The answer; failures that are errors below are raised. None: the node closed the connection without a byte,
            which is how a uWSGI node refuses.
        Raises:
            RpcError, CacheError: the call is too large; nothing was sent.
            ConfigError: the node is not an address.
            NodeUnreachable: there is no connection; nothing was sent.
            NodeTimeout: there was no answer in time.
            NodeClosed: the answer is cut off or missing.
            RpcNotFound, RpcFailed: the node answered with that failure.
        """
        limit = self._timeout if timeout is None else timeout
        if not limit > 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {limit!r}")
        address = _address(node)
        data = call.encode()
        await checkpoint_if_cancelled()
        connection = self._take(node)
        if connection is not None and timeout is None and self._serving:
            # A cancel scope for each call is expensive: one task watches all calls with the default timeout.
            self._calls.add(connection, trio.current_time())
            try:
                return await self._ask(connection, call, data)
            finally:
                self._calls.discard(connection)
        with trio.move_on_after(limit):
            return await self._ask(connection or await self._connect(node, address), call, data)
        raise _timed_out(node, limit)

    async def _ask(self, connection: _Connection, call: NodeCall, data: bytes) -> Answer | None:
        keep = False
        try:
            answer, reusable = await connection.exchange(call, data)
            failed = isinstance(answer, Failure) and answer.kind not in HARMLESS
            keep = connection.greeted and reusable and not failed
        finally:
            if keep:
                self._keep(connection)
            else:
                connection.socket.close()
        node = connection.node
        if answer is None and connection.greeted:
            raise NodeClosed(node, "it closed the connection without an answer; the call may have been done or not")
        if isinstance(answer, Failure):
            _raise_failure(node, call, answer)
        return answer

    def _expire(self, connection: _Connection) -> None:
        connection.expire(_timed_out(connection.node, self._timeout))

    # ----- connections

    def _take(self, node: str) -> _Connection | None:
        """The most recently used kept connection to the node that is still open."""
        while (connection := next((kept for kept in reversed(self._kept) if kept.node == node), None)) is not None:
            del self._kept[connection]
            if connection.alive:
                return connection
            connection.socket.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        self._kept[connection] = None
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)[0].socket.close()

    async def _connect(self, node: str, address: Address) -> _Connection:
        connection = _Connection(node, await open_node(node, address))
        if trio.current_time() < self._without_hello.get(node, 0):
            return connection
        try:
            hello = HelloCall()
            connection.greeted = await connection.exchange(hello, hello.encode()) == (HelloAnswer(), True)
        finally:
            if not connection.greeted:
                connection.socket.close()
        if connection.greeted:
            return connection
        if len(self._without_hello) >= NO_HELLO_NODES:
            self._without_hello.clear()
        self._without_hello[node] = trio.current_time() + NO_HELLO_SECONDS
        return _Connection(node, await open_node(node, address))


def _timed_out(node: str, limit: float) -> NodeTimeout:
    return NodeTimeout(node, f"it did not answer within {limit:g} s; the call may have been done or not")


@functools.lru_cache(NO_HELLO_NODES)
def _address(node: str) -> Address:
    """Parse the address of a node.

    Raises:
        ConfigError: it is not an address, or not one to connect to.
    """
    address = Address.parse(node)
    if address.kind == "fd" or (address.kind == "tcp" and not (address.host and address.port)):
        raise ConfigError(f"{node!r} is not the address of a node", "write host:port, or the path of a unix socket")
    return address


async def open_node(node: str, address: Address) -> socket.socket:
    """Connect, and return a socket in non-blocking mode. A cancelled attempt leaves nothing open.

    Raises:
        NodeUnreachable: the connection failed.
    """
    try:
        if address.kind == "tcp":
            sock = (await trio.open_tcp_stream(address.host, address.port)).socket
        else:
            path = address.path
            sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
            try:
                await sock.connect("\0" + path[1:] if path.startswith("@") else path)
                sock.getpeername()  # fails if the queue of a unix socket was full, which connect() does not report
            except BaseException:
                sock.close()
                raise
    except (OSError, UnicodeError) as error:
        full = getattr(error, "errno", 0) == errno.ENOTCONN
        reason = "its queue of connections is full: it is too busy, or its backlog is too short" if full else error
        raise NodeUnreachable(node, f"no connection ({reason}); nothing was sent") from error
    plain = socket.socket(sock.family, sock.type, sock.proto, sock.detach())
    plain.setblocking(False)
    return plain


def _raise_failure(node: str, call: NodeCall, failure: Failure) -> None:
    name = getattr(call, "name", b"").decode("utf-8", "replace")
    if failure.kind == "not-found" and name:
        raise RpcNotFound(name, node)
    if failure.kind == "failed" and name:
        raise RpcFailed(name, node, failure.reason)
