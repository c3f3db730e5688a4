"""Opens idle keep-alive connections to a server, which have had one response each, and measures their memory."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

from benchmarks.running import Failure, memory

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SETTLE = 1.0  # seconds until a server has done what it does after a response
SPARE = 200  # file descriptors for everything else


def room(wanted: int) -> int:
    """How many connections may be opened here, at most as many as wanted. A server inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard - SPARE)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + SPARE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + SPARE, hard))
    return wanted


@contextlib.contextmanager
def connections(port: int, count: int, pid: int) -> Iterator[float]:
    """Keep so many connections open. Gives the bytes of memory of each.

    Args:
        port: the server's.
        count: of connections.
        pid: the server's first process.
    Raises:
        Failure: it does not answer, or does not keep them open.
    """
    before = memory(pid)
    with contextlib.ExitStack() as stack:
        clients: list[socket.socket] = []
        for _ in range(count):
            try:
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
                client.sendall(REQUEST)
                answer = b""
                while not answer.endswith(b"Hello"):
                    answer += (part := client.recv(4096))
                    if not part:
                        raise ConnectionResetError("it closed the connection")
            except OSError as error:
                raise Failure(f"It has {len(clients)} idle connections, and fails then: {error}") from None
            clients.append(client)
        time.sleep(SETTLE)
        each = (memory(pid) - before) / count
        yield each
        open_still = sum(is_open(client) for client in clients)
    if open_still < count:
        raise Failure(f"It closed {count - open_still} of {count} idle connections.")


def is_open(client: socket.socket) -> bool:
    """Has the server not closed this connection?"""
    client.setblocking(False)
    try:
        return bool(client.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False
