"""The client of other nodes: one call, one answer, over the uwsgi protocol.

A connection begins with a hello (`_protocol/remote_calls.py`). Another trio_uwsgi answers it, and the connection is
kept for the next call. A uWSGI closes: then each call gets a connection of its own, without a hello, and the node is
remembered as plain for a while.

No call is ever sent twice: the hello asks for nothing, and a kept connection that the node has closed is noticed before
it is used. One that closes after that may have made the call, and is an error.
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

# Connections kept, of all nodes together; the one that was not used for the longest time goes first.
KEPT = 32
# How long a node that answered no hello is taken for a uWSGI.
NO_HELLO_SECONDS = 60.0
# Nodes remembered as plain.
NO_HELLO_NODES = 1024
# Kinds of failures after which our servers go on with the connection. After others they may close it.
HARMLESS = frozenset(("exists", "full", "not-found"))
# Bytes of the largest answer that is taken.
LARGEST = 64 * 1024 * 1024
RECEIVE = 65536


class _Connection:
    """One connection to a node, for one call at a time.

    Bytes go straight to the socket and come from it when Trio says that there are some: each layer in between costs as
    much as the call.

    Args:
        node: as the caller wrote it.
        sock: in non-blocking mode.
    """

    __slots__ = ("_timed_out", "greeted", "node", "socket")

    def __init__(self, node: str, sock: socket.socket) -> None:
        self.node = node
        self.socket = sock
        self.greeted = False  # the node is one of ours: calls follow each other
        self._timed_out: NodeTimeout | None = None

    @property
    def alive(self) -> bool:
        """Between calls: one that can be read has ended, as nothing is due on it."""
        poll = select.poll()  # select() takes no descriptors from 1024 on
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def expire(self, error: NodeTimeout) -> None:
        """End the call that runs with this error."""
        self._timed_out = error
        trio.lowlevel.notify_closing(self.socket)

    async def exchange(self, call: NodeCall | HelloCall, data: bytes) -> tuple[Answer | None, bool]:
        """Send a call and read its answer, None where the connection ended instead; and say whether another may follow.

        Checkpoints after it has sent. Whatever it raises, the connection is of no use any more.
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
            assert self._timed_out is not None, "nobody else closes it during a call"
            raise self._timed_out from None
        except OSError as error:
            if isinstance(call, HelloCall):
                return None, False
            raise NodeClosed(self.node, "the connection broke; what was asked may have been done or not") from error

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
            except BlockingIOError:  # the kernel may take back what it has announced
                continue

    def _check_time(self) -> None:
        """`expire` wakes only who waits: this task may have been on its way already, for a part of the answer."""
        if self._timed_out is not None:
            raise self._timed_out


class Nodes:
    """Connections to other nodes.

    Args:
        timeout: seconds for one call, where the caller says nothing.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._kept: OrderedDict[_Connection, None] = OrderedDict()
        self._without_hello: dict[str, float] = {}
        self._calls: Deadlines[_Connection] = Deadlines(timeout, self._expire)
        self._serving = False

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections until cancelled; then close them."""
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
        address = _address(node)
        data = call.encode()
        await checkpoint_if_cancelled()
        connection = self._take(node)
        if connection is not None and timeout is None and self._serving:
            # A scope for each call would cost a good part of it: one task looks after all that have the same time.
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
            raise NodeClosed(
                node, "it closed the connection without an answer; what was asked may have been done or not"
            )
        if isinstance(answer, Failure):
            _raise_failure(node, call, answer)
        return answer

    def _expire(self, connection: _Connection) -> None:
        connection.expire(_timed_out(connection.node, self._timeout))

    # ----- connections

    def _take(self, node: str) -> _Connection | None:
        """The newest connection that is kept and lives."""
        for connection in [connection for connection in reversed(self._kept) if connection.node == node]:
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
    return NodeTimeout(node, f"it did not answer within {limit:g} s; what was asked may have been done or not")


@functools.lru_cache(NO_HELLO_NODES)
def _address(node: str) -> Address:
    """Where a node is.

    Raises:
        ConfigError: it is not an address, or not one to connect to.
    """
    address = Address.parse(node)
    if address.kind == "fd" or (address.kind == "tcp" and not (address.host and address.port)):
        raise ConfigError(f"{node!r} is not the address of a node", "write host:port, or the path of a unix socket")
    return address


async def open_node(node: str, address: Address) -> socket.socket:
    """Connect, and give a socket in non-blocking mode. A cancelled try leaves nothing.

    Raises:
        NodeUnreachable: it cannot be done.
    """
    try:
        if address.kind == "tcp":
            sock = (await trio.open_tcp_stream(address.host, address.port)).socket
        else:
            path = address.path
            sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
            try:
                await sock.connect("\0" + path[1:] if path.startswith("@") else path)
                sock.getpeername()  # a unix socket whose queue is full looks as if it had been connected
            except BaseException:
                sock.close()
                raise
    except (OSError, UnicodeError) as error:
        full = getattr(error, "errno", 0) == errno.ENOTCONN
        why = "its queue of connections is full: it is too busy, or its backlog too short" if full else error
        raise NodeUnreachable(node, f"no connection ({why}); nothing was sent") from error
    plain = socket.socket(sock.family, sock.type, sock.proto, sock.detach())
    plain.setblocking(False)
    return plain


def _raise_failure(node: str, call: NodeCall, failure: Failure) -> None:
    name = getattr(call, "name", b"").decode("utf-8", "replace")
    if failure.kind == "not-found" and name:
        raise RpcNotFound(name, node)
    if failure.kind == "failed" and name:
        raise RpcFailed(name, node, failure.reason)
