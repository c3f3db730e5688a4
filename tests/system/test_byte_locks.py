"""Locks of the kernel on single bytes: of each object, whichever process it is in, until that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from trio_uwsgi._system import byte_locks
from trio_uwsgi._system.byte_locks import ByteLocks, open_byte_locks
from trio_uwsgi._system.close_on_fork import close_copies
from trio_uwsgi._system.process_locks import lock_process, unlock_process

COUNT = 4


@pytest.fixture
def memory() -> Iterator[int]:
    """A descriptor of memory that processes share."""
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def make(memory: int) -> Iterator[Callable[[], ByteLocks]]:
    """Makes locks, which are closed at the end."""
    made = []

    def one() -> ByteLocks:
        locks = open_byte_locks(memory, COUNT)
        assert locks is not None
        made.append(locks)
        return locks

    yield one
    for locks in made:
        locks.close()


def test_one_holds_a_lock(make: Callable[[], ByteLocks]) -> None:
    """Another one does not get it until it is released; other bytes are other locks, also counted from the end."""
    one, other = make(), make()
    assert [True, True] == [one.take(0), one.take(-1)]
    assert [False, False, True, True] == [other.take(place) for place in (0, 3, 1, 2)]
    one.release(0)
    assert [True, False] == [other.take(0), one.take(0)]
    other.release(1)
    assert one.take(1)


def test_the_file_has_other_locks(make: Callable[[], ByteLocks], memory: int) -> None:
    """Those of `process_locks.py`, which shared areas take on the same memory: neither waits for the other."""
    one = make()
    assert one.take(0)
    lock_process(memory)
    other = make()
    assert [False, True] == [other.take(0), other.take(1)]
    unlock_process(memory)


def test_the_end_releases_all(make: Callable[[], ByteLocks]) -> None:
    """That of the object, which may be told twice."""
    one, other = make(), make()
    assert one.take(2)
    one.close()
    one.close()
    assert other.take(2)


def test_a_forked_child_has_none(make: Callable[[], ByteLocks]) -> None:
    """Its copies are closed, which changes nothing for its parent; what it tries fails, or does nothing."""
    one, other = make(), make()
    assert one.take(0)
    child = os.fork()
    if child == 0:
        code = 2
        try:
            close_copies()
            one.release(0)
            code = one.take(1)
        finally:
            os._exit(code)
    assert 0 == os.waitpid(child, 0)[1]
    assert not other.take(0)


def test_a_killed_process_holds_nothing(make: Callable[[], ByteLocks], memory: int) -> None:
    """The kernel releases its locks."""
    mine = make()
    program = (
        "import sys, time; from trio_uwsgi._system.byte_locks import open_byte_locks\n"
        f"print(open_byte_locks({memory}, {COUNT}).take(1), flush=True) or time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, pass_fds=[memory]) as process:
        assert process.stdout is not None
        assert b"True\n" == process.stdout.readline()
        assert not mine.take(1)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert mine.take(1)


@pytest.mark.parametrize("refused", ["open", "fcntl", "unknown"])
def test_a_system_that_has_none(memory: int, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """None is given, and no descriptor is left."""

    def refuse(*args: object) -> int:
        raise OSError(errno.EINVAL, "refused")

    if refused == "unknown":
        monkeypatch.setattr(byte_locks, "_SET", None)
    else:
        monkeypatch.setattr(os if refused == "open" else fcntl, refused, refuse)
    before = len(os.listdir("/proc/self/fd"))
    assert open_byte_locks(memory, COUNT) is None
    assert before == len(os.listdir("/proc/self/fd"))
