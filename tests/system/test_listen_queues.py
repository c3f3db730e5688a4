"""How many clients wait at a listening socket."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

import pytest

from trio_uwsgi._system.listen_queues import listen_queue
from trio_uwsgi._system.process_memory import process_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_clients_that_wait_are_counted(family: socket.AddressFamily, tmp_path: Path) -> None:
    """Each that is not accepted counts, with the most that may wait."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "socket"))
        listener.listen(7)
        assert (0, 7) == listen_queue(listener)
        for _ in range(3):
            stack.enter_context(socket.socket(family)).connect(listener.getsockname())
        assert (3, 7) == listen_queue(listener)
        stack.enter_context(listener.accept()[0])
        assert (2, 7) == listen_queue(listener)


def test_where_the_system_does_not_say() -> None:
    """A socket that is closed, or does not listen, has 0."""
    with socket.socket() as sock, socket.socket(socket.AF_UNIX) as unix:
        assert [(0, 0), (0, 0)] == [listen_queue(sock), listen_queue(unix)]
    assert [(0, 0), (0, 0)] == [listen_queue(sock), listen_queue(unix)]


def test_the_memory_of_a_process_that_is_not_there() -> None:
    """It has none."""
    assert (0, 0) == process_memory(2**22 + 1)
