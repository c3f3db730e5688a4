"""The API of uWSGI's async cores: waiting for time and descriptors, and the client's connection."""

from __future__ import annotations

import errno
import os
import socket
import stat

import trio

from trio_uwsgi._apps.async_cores import FOREVER, Wait, current_waits, until_ready
from trio_uwsgi._http.exchange import Exchange
from trio_uwsgi._nodes.client import open_node
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.config.addresses import Address
from trio_uwsgi.errors import ConfigError, NotServing
from trio_uwsgi.uwsgi._awaiting import awaited
from trio_uwsgi.uwsgi._base import as_number, on_trios_thread

__all__ = [
    "async_connect",
    "async_sleep",
    "close",
    "connection_fd",
    "disconnect",
    "is_connected",
    "ready_fd",
    "recv",
    "send",
    "suspend",
    "wait_fd_read",
    "wait_fd_write",
]


# The most bytes that one `recv` returns. The buffer is allocated before a byte has arrived, so it needs a limit.
_MOST = 1 << 20


def async_sleep(secs: float) -> Wait:
    """Register a wait for a time.

    To wait, await the returned object or `suspend()`; a WSGI generator yields the object. A wait belongs to the task
    that registers it, or to the thread of a WSGI application.

    Args:
        secs: seconds, 0 or more; fractions count. They are counted from the moment at which the waiting begins.
    Returns:
        An object to await once. It is also an empty bytes object, which a WSGI generator can yield.
    Raises:
        ValueError: `secs` is negative.
        RuntimeError: the object is awaited a second time, or by another task.
    Checkpoint: never by itself.
    uWSGI: `uwsgi.async_sleep`, which drops the fraction of a second.
    Example:
        await uwsgi.async_sleep(0.5)
    """
    return current_waits().register(-1, False, as_number("a time to sleep in seconds", secs))


def wait_fd_read(fd: int, timeout: float = 0) -> Wait:
    """Register a wait until a descriptor can be read.

    To wait, await the returned object or `suspend()`; a WSGI generator yields the object.

    Args:
        fd: the descriptor of a socket, a pipe, or another object that can be polled. `connection_fd()` is ready when
            `recv(length)` would not wait.
        timeout: seconds from the moment at which the waiting begins; fractions count; 0 for no timeout.
    Returns:
        An object to await once, as from `async_sleep`.
    Raises:
        OSError: the descriptor is not open, or is a file's.
        ValueError: the timeout is negative.
        trio.BusyResourceError, trio.ClosedResourceError: when the object is awaited; as `suspend`.
        RuntimeError: the object is awaited a second time, or by another task.
    Checkpoint: never by itself.
    uWSGI: `uwsgi.wait_fd_read`, where all waits share one timeout of whole seconds, and a second core that waits for a
        descriptor takes it from the first.
    Example:
        uwsgi.wait_fd_read(fd, timeout=2)
        await uwsgi.suspend()
        timed_out = uwsgi.ready_fd() == -1
    """
    return current_waits().register(_descriptor(fd), False, _limit(timeout))


def wait_fd_write(fd: int, timeout: float = 0) -> Wait:
    """Register a wait until a descriptor can be written to; otherwise as `wait_fd_read`.

    Args:
        fd: as in `wait_fd_read`.
        timeout: as in `wait_fd_read`.
    Returns:
        An object to await once, as from `async_sleep`.
    Raises:
        OSError, ValueError, trio.BusyResourceError, trio.ClosedResourceError, RuntimeError: as `wait_fd_read`.
    Checkpoint: never by itself.
    uWSGI: `uwsgi.wait_fd_write`; the differences are those of `wait_fd_read`.
    """
    return current_waits().register(_descriptor(fd), True, _limit(timeout))


def _limit(timeout: float) -> float:
    return as_number("a timeout in seconds", timeout) or FOREVER


def _descriptor(fd: int) -> int:
    return -2 if fd == -1 else fd  # -1 stands for no descriptor


@awaited
async def suspend() -> None:
    """Wait until the first of the registered waits ends, and drop the others.

    The waits are those that this task or thread has registered with `async_sleep`, `wait_fd_read` and `wait_fd_write`.
    Without any, this is only a checkpoint. Afterwards `ready_fd` returns the descriptor whose wait ended.

    Raises:
        OSError: one of the descriptors is not open any more.
        trio.BusyResourceError: another task waits for one of the descriptors; its wait is not affected.
        trio.ClosedResourceError: one of the descriptors was closed with `close`.
    Checkpoint: always.
    Cancellation: the waits are dropped.
    uWSGI: `uwsgi.suspend`, which without a coroutine engine does nothing.
    """
    await current_waits().commit()


def ready_fd() -> int:
    """Return the descriptor that ended the last wait of this task or thread.

    It is -1 after a timeout or a sleep, and before any wait.

    Checkpoint: never.
    uWSGI: `uwsgi.ready_fd`, which always returns -1 in a generator that yields.
    """
    return current_waits().ready


@awaited
async def async_connect(addr: str) -> int:
    """Connect to a socket. Other tasks run while its name is looked up and while it connects.

    Args:
        addr: as the node in `rpc`.
    Returns:
        The descriptor of the connection, which is non-blocking. The caller closes it with `close`.
    Raises:
        NodeUnreachable: it cannot be connected to; this is also an OSError.
        ConfigError: `addr` is not an address.
    Checkpoint: always.
    Cancellation: nothing stays open.
    uWSGI: `uwsgi.async_connect`, which returns -1, or a descriptor that is still connecting or has failed to connect,
        and blocks while a name is looked up.
    """
    address = Address.parse(addr)
    if address.kind == "fd" or (address.kind == "tcp" and not (address.host and address.port)):
        raise ConfigError(f"{addr!r} cannot be connected to", "write host:port, the path of a unix socket, or @name")
    return (await open_node(addr, address)).detach()


@awaited
async def send(fd: int | bytes, data: bytes | None = None, /) -> None:
    """Send bytes to a descriptor; with one argument, send raw bytes to the client of this request.

    Raw bytes follow what the request has sent before. They end the response, or replace it if it has not begun, and the
    connection accepts no other request. Until the request ends, the application may speak any protocol on the
    connection, with `send` and `recv`.

    Args:
        fd: the descriptor, which is made non-blocking; `connection_fd()` stands for the client. With one argument, the
            bytes for the client.
        data: the bytes; all of them are sent.
    Raises:
        TypeError: the data is not bytes, or the descriptor is not an int.
        OSError: the descriptor is not open, or its other end is closed.
        trio.BusyResourceError, trio.ClosedResourceError: as `suspend`.
        ClientDisconnected: the client has disconnected.
        LocalProtocolError: the response is complete.
        NotServing: called with one argument outside of a request.
    Checkpoint: always.
    Cancellation: a part of the bytes may have been sent.
    uWSGI: `uwsgi.send`, which sends only what one `write` accepts, and crashes if it gets a str.
    """
    payload = fd if data is None else data
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise TypeError(f"uwsgi.send() sends bytes, not {type(payload).__name__}; encode it first")
    if data is None or _is_client(fd):
        await _exchange("send").send_raw(bytes(payload))
        return
    number = _number(fd, "a descriptor")
    os.set_blocking(number, False)
    await trio.lowlevel.checkpoint()
    with memoryview(payload).cast("B") as rest:
        sent = 0
        while sent < len(rest):
            try:
                sent += os.write(number, rest[sent:])
            except BlockingIOError:
                await until_ready(number, True)


@awaited
async def recv(fd: int, length: int | None = None, /) -> bytes:
    """Receive bytes from a descriptor; with one argument, receive the next bytes of the body of this request.

    After a raw `send` to the client, this also returns what the client sends after the body. The server reads from the
    client only as fast as the application calls this, so it needs a bounded amount of memory.

    Args:
        fd: the descriptor, which is made non-blocking; `connection_fd()` stands for the client. With one argument, the
            length.
        length: the most bytes to return, 1 or more; more than 1 MiB counts as 1 MiB.
    Returns:
        At least one byte; `b""` at the end of the body or, after a raw `send`, when the client has closed its side.
    Raises:
        TypeError: the length or the descriptor is not an int.
        ValueError: the length is below 1.
        OSError: the descriptor is not open, or its other end is closed.
        trio.BusyResourceError, trio.ClosedResourceError: as `suspend`.
        ClientDisconnected: the client disconnected before the end of the body.
        LocalProtocolError: the client sent bytes after its body before the first raw `send`, so the server has read
            them as the next request.
        NotServing: called with one argument outside of a request.
    Checkpoint: always.
    Cancellation: nothing was received.
    uWSGI: `uwsgi.recv`, which returns at most 4,096 bytes, and None at the end and for every error. Its form with one
        argument is documented and does not exist.
    """
    size = _number(fd if length is None else length, "a length")
    if size < 1:
        raise ValueError(f"uwsgi.recv() takes a length of 1 or more, not {size}")
    size = min(size, _MOST)
    await trio.lowlevel.checkpoint()
    if length is None or _is_client(fd):
        return await _exchange("recv").receive_raw(size)
    os.set_blocking(_number(fd, "a descriptor"), False)
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await until_ready(fd, False)


def close(fd: int) -> None:
    """Close a descriptor. Tasks that wait for it get `trio.ClosedResourceError`.

    Args:
        fd: the descriptor. For `connection_fd()` this does the same as `disconnect()`.
    Raises:
        OSError: the descriptor is not open.
    Checkpoint: never. May be called from the runtime's threads, and from those of any Trio program.
    uWSGI: `uwsgi.close`, which ignores errors, and does not wake cores that wait for the descriptor.
    """

    def close_it() -> None:
        if _is_client(fd):
            _exchange("close").hang_up()
            return
        os.fstat(_number(fd, "a descriptor"))
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(fd)
        os.close(fd)

    on_trios_thread(close_it)


def connection_fd() -> int:
    """Return the descriptor of this request's connection.

    The runtime reads and writes the connection itself. Pass the descriptor only to functions of this module. Until the
    request ends, the number stands for this connection, also when the connection has ended before.

    Returns:
        The descriptor; -1 if the connection has none, as in tests, or has ended before the first call.
    Raises:
        NotServing: not called in a request.
    Checkpoint: never.
    uWSGI: `uwsgi.connection_fd`, which returns 0 outside of a request.
    """
    exchange = _exchange("connection_fd")
    return on_trios_thread(exchange.session.lend, exchange)


def disconnect() -> None:
    """Close this request's connection once all that the request has sent is written. The request continues.

    The request needs no response. If it sends more, the bytes are dropped and `ClientDisconnected` is raised.

    Raises:
        NotServing: not called in a request.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.disconnect`, after which `connection_fd` returns a stale number.
    """
    on_trios_thread(_exchange("disconnect").hang_up)


def is_connected(fd: int | None = None) -> bool:
    """Return whether a socket has no error; without a descriptor, whether the client of this request is connected.

    Args:
        fd: the descriptor of a socket; None for the client. The client counts as disconnected once it has closed its
            side or received its whole response.
    Raises:
        OSError: the descriptor is not open, or not a socket's.
        NotServing: called without a descriptor outside of a request.
    Checkpoint: never.
    uWSGI: `uwsgi.is_connected`, where the descriptor is required.
    """
    if fd is None:
        return not _exchange("is_connected").gone
    if not stat.S_ISSOCK(
        os.fstat(_number(fd, "a descriptor")).st_mode
    ):  # checked first: `socket.socket` would leak the duplicate
        raise OSError(errno.ENOTSOCK, f"descriptor {fd} is not a socket")
    blocking = os.get_blocking(fd)
    with socket.socket(fileno=os.dup(fd)) as sock:
        os.set_blocking(fd, blocking)  # the constructor may have changed it, if sockets have a default timeout
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def _exchange(call: str) -> Exchange:
    """The request that the calling code belongs to. Remote calls do not count: the runtime answers their clients."""
    unit = UNIT.get(None)
    if not isinstance(unit, Exchange) or unit.request.modifier1:
        raise NotServing(f"uwsgi.{call}()", "it concerns the client of a request", "outside of a request")
    return unit


def _is_client(fd: object) -> bool:
    """Is this the descriptor of this request's client, which the runtime reads and writes itself?"""
    unit = UNIT.get(None)
    return isinstance(unit, Exchange) and fd == unit.session.descriptor != -1


def _number(value: object, what: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    return value
