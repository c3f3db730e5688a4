"""Async cores and connections of the module `uwsgi`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import trio

from trio_uwsgi import uwsgi as native
from trio_uwsgi.compat.answers import TrueOrNone, as_address, as_name, whole
from trio_uwsgi.compat.calling import waiting
from trio_uwsgi.errors import ClientDisconnected, ConfigError, LocalProtocolError, NodeError, NotServing

if TYPE_CHECKING:
    from trio_uwsgi._apps.async_cores import Wait

__all__ = [
    "async_connect",
    "async_sleep",
    "close",
    "connect",
    "connection_fd",
    "disconnect",
    "green_schedule",
    "is_connected",
    "ready_fd",
    "recv",
    "send",
    "suspend",
    "wait_fd_read",
    "wait_fd_write",
]

_CONNECT_TIMEOUT = 4  # seconds; uWSGI's socket-timeout
_MOST = 4096  # the most bytes that one `recv` returns


def suspend() -> Literal[True]:
    """Wait until the first wait that this code has registered ends; without one, let others run.

    uWSGI: it works in every mode; there it needs a coroutine engine, and else does nothing.
    """
    waiting(native.suspend)
    return True


green_schedule = suspend


def async_sleep(timeout: float, /) -> Wait:
    """Register a wait for a time, and return b"" for a generator to yield; `suspend` waits too.

    uWSGI: fractions of a second count; there they are dropped.
    """
    return native.async_sleep(max(timeout, 0))


def wait_fd_read(fd: int, timeout: int = 0, /) -> Wait:
    """Register a wait until a descriptor can be read, and return b"" for a generator to yield; `suspend` waits too.

    uWSGI: it works in every mode, and each wait has its own timeout.
    """
    return native.wait_fd_read(whole(fd), max(whole(timeout), 0))


def wait_fd_write(fd: int, timeout: int = 0, /) -> Wait:
    """Register a wait until a descriptor can be written to.

    uWSGI: as `wait_fd_read`.
    """
    return native.wait_fd_write(whole(fd), max(whole(timeout), 0))


def ready_fd() -> int:
    """Return the descriptor that ended the last wait; -1 after a timeout.

    uWSGI: also in a generator that yields, where it is always -1 there.
    """
    return native.ready_fd()


def async_connect(socket_name: str, /) -> int:
    """Connect, and return a descriptor that does not block; -1 if that is not possible.

    uWSGI: it returns once it is connected; there the connection may fail later.
    """
    return _connect(as_name("async_connect", socket_name), _CONNECT_TIMEOUT)


def connect(socket_name: str, /, timeout: int = 0) -> int:
    """Connect within a time, and return a descriptor that blocks; -1 if that is not possible.

    uWSGI: without a time it is 4 seconds.
    """
    fd = _connect(as_name("connect", socket_name), whole(timeout) or _CONNECT_TIMEOUT)
    if fd >= 0:
        os.set_blocking(fd, True)
    return fd


def connection_fd() -> int:
    """Return the descriptor of this request's connection; 0 outside of a request.

    uWSGI: it is -1 once the connection has ended; there it is the former number.
    """
    try:
        return native.connection_fd()
    except NotServing:
        return 0


def disconnect() -> None:
    """Close this request's connection; the request goes on. Outside of a request this does nothing.

    uWSGI: what was sent before is still written.
    """
    try:
        native.disconnect()
    except NotServing:
        return


def is_connected(fd: int, /) -> bool:
    """Tell whether a socket has no error."""
    try:
        return native.is_connected(whole(fd))
    except OSError:
        return False


def send(fd: int | bytes, data: bytes | None = None, /) -> TrueOrNone:
    """Send bytes to a descriptor, or raw to this request's client; None after an error.

    uWSGI: all bytes are sent; there only what one write takes. A str raises TypeError; there it ends the worker.
    """
    if data is None and isinstance(fd, int):
        raise TypeError(f"uwsgi.send() with one argument takes bytes for the client, not {fd!r}")
    try:
        if data is None:
            waiting(native.send, fd)
        else:
            waiting(native.send, fd, data)
    except (OSError, NotServing, LocalProtocolError):
        return None
    return True


def recv(fd: int, max_size: int = 4096, /) -> bytes | None:
    """Receive at most 4,096 bytes from a descriptor; None at its end and after an error.

    uWSGI: it waits for bytes; there it returns None if there are none yet and the descriptor does not block.
    """
    size = min(whole(max_size), _MOST)
    try:
        return waiting(native.recv, whole(fd), size) or None
    except (OSError, ValueError, ClientDisconnected, LocalProtocolError):
        return None


def close(fd: int, /) -> None:
    """Close a descriptor; one that is not open is ignored."""
    try:
        native.close(whole(fd))
    except OSError:
        return


def _connect(address: str, timeout: float) -> int:
    async def connected() -> int:
        with trio.move_on_after(timeout):
            return await native.async_connect(as_address(address))
        return -1

    try:
        return waiting(connected)
    except (NodeError, ConfigError):
        return -1
