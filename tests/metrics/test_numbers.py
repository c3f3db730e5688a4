"""The numbers of metrics, in memory and in a file, as far as one process can show it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trio_uwsgi._metrics.numbers import Numbers


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the numbers are."""
    return tmp_path / "metrics" if request.param == "file" else None


def test_numbers_change(path: Path | None) -> None:
    """From their first values on; after the end they are what they were."""
    numbers = Numbers([5, -7], path)
    assert 6 == numbers.change(0, lambda number: number + 1)
    assert (6, -7) == (numbers.get(0), numbers.get(1))
    for _ in range(2):
        numbers.close()
    assert (6, -7) == (numbers.get(0), numbers.get(1))


def test_a_change_that_fails_leaves_the_number(path: Path | None) -> None:
    """And the lock is free."""
    numbers = Numbers([5], path)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            numbers.change(0, lambda number: number // 0)
    assert (5, 4) == (numbers.get(0), numbers.change(0, lambda number: number - 1))
    numbers.close()


def test_who_joins_finds_the_numbers(tmp_path: Path) -> None:
    """A process that joins does not set them back, and makes no file."""
    first = Numbers([5], tmp_path / "metrics")
    first.change(0, lambda number: 8)
    second = Numbers([5], tmp_path / "metrics", joins=True)
    second.change(0, lambda number: number + 1)
    assert (9, 9) == (first.get(0), second.get(0))
    first.close()
    second.close()
    with pytest.raises(FileNotFoundError):
        Numbers([5], tmp_path / "other", joins=True)


def test_threads_lose_no_change(path: Path | None) -> None:
    """Four threads count to the sum of what each counts."""
    numbers = Numbers([0], path)

    def count() -> None:
        for _ in range(2000):
            numbers.change(0, lambda number: number + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 8000 == numbers.get(0)
    numbers.close()


# Has the lock of the numbers, and waits for another one, which only the kernel takes for a deadlock.
HOLDER = """
import fcntl, sys, threading
numbers, other = (open(path, "r+b") for path in sys.argv[1:])
fcntl.lockf(numbers, fcntl.LOCK_EX)
threading.Thread(target=fcntl.lockf, args=(other, fcntl.LOCK_EX), daemon=True).start()
print("locked", flush=True)
sys.stdin.readline()
fcntl.lockf(numbers, fcntl.LOCK_UN)
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.mark.real
def test_what_the_kernel_takes_for_a_deadlock(tmp_path: Path) -> None:
    """The holder's other thread waits for a lock of this process: the call waits for the holder, and succeeds."""
    numbers = Numbers([0], tmp_path / "metrics")
    with (tmp_path / "other").open("wb") as other:
        fcntl.lockf(other, fcntl.LOCK_EX)
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "metrics"), str(tmp_path / "other")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert b"locked\n" == holder.stdout.readline()
            deadline = time.monotonic() + 60
            while not re.search(rf"-> .* {holder.pid} ", Path("/proc/locks").read_text()):  # its other thread waits
                assert time.monotonic() < deadline
                os.sched_yield()
            thread = threading.Thread(target=numbers.change, args=(0, lambda number: number + 1), daemon=True)
            thread.start()
            thread.join(0.2)
            assert (True, 0) == (thread.is_alive(), numbers.get(0))
            holder.stdin.write(b"\n")
            holder.stdin.flush()
            thread.join(60)
            assert (False, 1) == (thread.is_alive(), numbers.get(0))
            holder.kill()
    numbers.close()
