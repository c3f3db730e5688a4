"""The API of uWSGI's async cores: waits, descriptors, and the client's connection."""

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


# Bytes that one `recv` gives at most: a length without limit would be memory without limit before a byte has come.
_MOST = 1 << 20


def async_sleep(secs: float) -> Wait:
    """Register a wait for time.

    Await what this returns, or `suspend()`; a WSGI generator yields it. Waits belong to the task, or the thread of a
    WSGI application, that registers them.

    Args:
        secs: 0 or more; fractions count. They begin with the commit.
    Raises:
        ValueError: negative.
        RuntimeError: when awaited a second time, or by another task.
    Checkpoint: never by itself.
    uWSGI: `uwsgi.async_sleep`, which cuts fractions off.
    """
    return current_waits().register(-1, False, as_number("a time to sleep in seconds", secs))


def wait_fd_read(fd: int, timeout: float = 0) -> Wait:
    """Register a wait until a descriptor can be read.

    Await what this returns, or `suspend()`; a WSGI generator yields it.

    Args:
        fd: of a socket, a pipe, or whatever else can be waited for. `connection_fd()` is ready when `recv(length)` is.
        timeout: seconds from the commit on, fractions count; 0 is none.
    Raises:
        OSError: the descriptor is not open, or is of a file.
        ValueError: the timeout is negative.
        trio.BusyResourceError, trio.ClosedResourceError: when awaited, as `suspend`.
        RuntimeError: when awaited a second time, or by another task.
    Checkpoint: never by itself.
    uWSGI: `uwsgi.wait_fd_read`, where all waits share one timeout, and two cores steal each other's descriptor.
    """
    return current_waits().register(_descriptor(fd), False, _limit(timeout))


def wait_fd_write(fd: int, timeout: float = 0) -> Wait:
    """Register a wait until a descriptor can be written to, as `wait_fd_read`.

    Args:
        fd: as in `wait_fd_read`.
        timeout: as in `wait_fd_read`.
    Raises:
        OSError, ValueError, trio.BusyResourceError, trio.ClosedResourceError, RuntimeError: as `wait_fd_read`.
    Checkpoint: never by itself.
    uWSGI: `uwsgi.wait_fd_write`.
    """
    return current_waits().register(_descriptor(fd), True, _limit(timeout))


def _limit(timeout: float) -> float:
    return as_number("a timeout in seconds", timeout) or FOREVER


def _descriptor(fd: int) -> int:
    return -2 if fd == -1 else fd  # -1 stands for no descriptor


@awaited
async def suspend() -> None:
    """Wait for the first of all that this task or thread has registered, and forget the others.

    With nothing registered, let others run. `ready_fd` says afterwards what happened.

    Raises:
        OSError: one of the descriptors is not open any more.
        trio.BusyResourceError: another task waits for one of the descriptors; nobody's wait is changed.
        trio.ClosedResourceError: one of them was closed with `close`.
    Checkpoint: always.
    Cancellation: the waits are forgotten.
    uWSGI: `uwsgi.suspend`, which without a coroutine engine does nothing.
    """
    await current_waits().commit()


def ready_fd() -> int:
    """The descriptor that ended this task's or thread's last wait; -1 after a timeout, a sleep, or nothing.

    Checkpoint: never.
    uWSGI: `uwsgi.ready_fd`, which in a generator that yields is always -1.
    """
    return current_waits().ready


@awaited
async def async_connect(addr: str) -> int:
    """Connect to a socket. Neither the look-up of its name nor the connecting keeps others from running.

    Args:
        addr: as the node in `rpc`.
    Returns:
        The descriptor of the connection, non-blocking; it is the caller's, who closes it with `close`.
    Raises:
        NodeUnreachable: it cannot be connected to; an OSError.
        ConfigError: it is not an address.
    Checkpoint: always.
    Cancellation: nothing is left open.
    uWSGI: `uwsgi.async_connect`, which gives -1, or a descriptor whose connection has failed.
    """
    address = Address.parse(addr)
    if address.kind == "fd" or (address.kind == "tcp" and not (address.host and address.port)):
        raise ConfigError(f"{addr!r} cannot be connected to", "write host:port, the path of a unix socket, or @name")
    return (await open_node(addr, address)).detach()


@awaited
async def send(fd: int | bytes, data: bytes | None = None, /) -> None:
    """Send bytes to a descriptor; with one argument, to the client of this request, around its response.

    They go out behind what was sent before. After them a request has no response, or no more of one, and its connection
    takes no other request: it is the caller's to speak any protocol on, with `recv`, until the request ends.

    Args:
        fd: the descriptor, which is made non-blocking; or the bytes, for the client. `connection_fd()` is the client.
        data: the bytes; all of them are sent.
    Raises:
        TypeError: they are no bytes, or the descriptor is no int.
        OSError: the descriptor is not open, or its other end is gone.
        trio.BusyResourceError, trio.ClosedResourceError: as `suspend`.
        ClientDisconnected: the client is gone.
        LocalProtocolError: the response is complete.
        NotServing: with one argument, and not in a request.
    Checkpoint: always.
    Cancellation: a part of the bytes may have been sent.
    uWSGI: `uwsgi.send`, which sends what one `write` takes, and crashes when it is given a str.
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
    """Receive bytes from a descriptor; with one argument, from the client of this request: the next ones of its body.

    Once bytes were sent around the response with `send`, what the client sends behind the body comes too. The client is
    read as it is received from, so what waits here is bounded.

    Args:
        fd: the descriptor, which is made non-blocking; or the length, for the client. `connection_fd()` is the client.
        length: how many bytes at most, 1 or more; of what is larger, 1 MiB is taken.
    Returns:
        At least one byte; `b""` at the end of the body, or, after such a `send`, when the client has ended its side.
    Raises:
        TypeError: the length, or the descriptor, is no int.
        ValueError: the length is not 1 or more.
        OSError: the descriptor is not open, or its other end is gone.
        trio.BusyResourceError, trio.ClosedResourceError: as `suspend`.
        ClientDisconnected: the client left in the middle of the body.
        LocalProtocolError: the client sent more behind its body before the first `send`; it was read as a request.
        NotServing: with one argument, and not in a request.
    Checkpoint: always.
    Cancellation: nothing was received.
    uWSGI: `uwsgi.recv`, where the form with one argument does not exist, and the end is None.
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
        fd: the descriptor; that of the client's connection is `disconnect()`.
    Raises:
        OSError: it is not open.
    Checkpoint: never. May be called from the runtime's threads, and from those of any Trio program.
    uWSGI: `uwsgi.close`, which ignores errors, and leaves those who wait.
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
    """The descriptor of this request's connection. The runtime reads it, so use it to recognise it, or with `send`.

    Returns:
        The descriptor; -1 where there is none, as in tests, and when the connection has ended.
    Raises:
        NotServing: not called in a request.
    Checkpoint: never.
    uWSGI: `uwsgi.connection_fd`, which gives 0 outside of a request, and a stale number afterwards.
    """
    return _exchange("connection_fd").session.descriptor


def disconnect() -> None:
    """Close this request's connection, when what was sent has gone out. The handler goes on.

    What it sends later is thrown away, and it is told so by a `ClientDisconnected`. It needs no response.

    Raises:
        NotServing: not called in a request.
    Checkpoint: never. May be called from the runtime's threads.
    uWSGI: `uwsgi.disconnect`.
    """
    on_trios_thread(_exchange("disconnect").hang_up)


def is_connected(fd: int | None = None) -> bool:
    """Is a connection free of errors; without a descriptor, is this request's client still there?

    Args:
        fd: of a socket; None is the client, which is gone once it has closed its side, or has its response.
    Raises:
        OSError: it is not open, or no socket.
        NotServing: without a descriptor, and not in a request.
    Checkpoint: never.
    uWSGI: `uwsgi.is_connected`, where the descriptor is not optional.
    """
    if fd is None:
        return not _exchange("is_connected").gone
    if not stat.S_ISSOCK(
        os.fstat(_number(fd, "a descriptor")).st_mode
    ):  # the constructor of a socket would keep the copy
        raise OSError(errno.ENOTSOCK, f"descriptor {fd} is not of a socket")
    blocking = os.get_blocking(fd)
    with socket.socket(fileno=os.dup(fd)) as sock:
        os.set_blocking(fd, blocking)  # with a default timeout, making the object has changed it, for the copy and this
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def _exchange(call: str) -> Exchange:
    """The request that runs here. A remote call has a client, too, but that one is the runtime's to answer."""
    unit = UNIT.get(None)
    if not isinstance(unit, Exchange) or unit.request.modifier1:
        raise NotServing(f"uwsgi.{call}()", "it is about a request's client; call it in a request")
    return unit


def _is_client(fd: object) -> bool:
    """Is this the descriptor of this request's client? The runtime reads and writes that itself."""
    unit = UNIT.get(None)
    return isinstance(unit, Exchange) and fd == unit.session.descriptor != -1


def _number(value: object, what: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    return value
