"""The calls of a socket that do not wait, in both builds."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Iterator

import pytest

from trio_uwsgi._http.nonblocking import DONTWAIT, Calls, calls_of


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets that are connected, in blocking mode."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def calls(ends: tuple[socket.socket, socket.socket]) -> Calls:
    """The calls of the first one."""
    return calls_of(ends[0])


def fill(calls: Calls, size: int) -> None:
    """Send pieces until that would wait."""
    while True:
        calls.send(b"x" * size, DONTWAIT)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 300_000])
def test_bytes_go_through(ends: tuple[socket.socket, socket.socket], calls: Calls, size: int) -> None:
    """Small and large pieces, of all types that have bytes."""
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for given in (data, bytearray(data), memoryview(data)):
        sent = calls.send(given, DONTWAIT)
        assert min(size, 1) <= sent <= size
        received = b""
        while len(received) < sent:
            received += ends[1].recv(size)
        assert data[:sent] == received
    ends[1].sendall(data[:100_000])
    received = b""
    while len(received) < min(size, 100_000):
        piece = calls.recv(max(size, 1), DONTWAIT)
        assert piece
        received += piece
    assert data[:100_000] == received


def test_nothing_waits(ends: tuple[socket.socket, socket.socket], calls: Calls) -> None:
    """Where a call would wait, it raises BlockingIOError; the end of the input is no bytes."""
    for size in (1, 100_000):
        with pytest.raises(BlockingIOError):
            calls.recv(size, DONTWAIT)
    for size in (100_000, 1):
        with pytest.raises(BlockingIOError):
            fill(calls, size)
    ends[1].shutdown(socket.SHUT_WR)
    assert b"" == calls.recv(10, DONTWAIT)
    assert b"" == calls.recv(100_000, DONTWAIT)


def test_errors(ends: tuple[socket.socket, socket.socket], calls: Calls) -> None:
    """A broken connection raises as it does in `socket`, without a signal; wrong arguments do, too."""
    ends[1].close()
    for data in (b"x", b"x" * 100_000):
        with pytest.raises(BrokenPipeError):
            calls.send(data, DONTWAIT)
    wrong: list[tuple[object, ...]] = [("a", DONTWAIT), (1, 2, 3, 4), ()]
    for arguments in wrong:
        with pytest.raises(TypeError):
            calls.recv(*arguments)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            calls.send(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        calls.recv(-1, DONTWAIT)


def test_nothing_is_left(ends: tuple[socket.socket, socket.socket], calls: Calls) -> None:
    """No references and no memory are lost."""
    data = b"x" * 50_000
    before = sys.getrefcount(data), len(gc.get_objects())
    for _ in range(100):
        calls.send(data, DONTWAIT)
        assert ends[1].recv(50_000)
        for size in (10, 50_000):
            with pytest.raises(BlockingIOError):
                calls.recv(size, DONTWAIT)
    assert before[0] == sys.getrefcount(data)
    assert len(gc.get_objects()) < before[1] + 500
