"""Another process with the shared queue and metrics: `python shared_numbers_peer.py what folder ...`. Run by tests."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from trio_uwsgi._metrics.numbers import Numbers
from trio_uwsgi._queues.file import QueueFile
from trio_uwsgi._shared_areas.areas import SharedAreas
from trio_uwsgi.config.queues import QueueOptions

OPTIONS = QueueOptions(size=50, blocksize=100)


def wait() -> None:
    """Say that it is there, and do nothing more."""
    sys.stdout.write("there\n")
    sys.stdout.flush()
    sys.stdin.readline()


def hold_queue(folder: Path) -> None:
    """Begin a call that pushes and pulls, and never end it."""
    with QueueFile(OPTIONS, str(folder / "queue")).transaction() as rules:
        rules.pull()
        rules.push(b"half")
        wait()


def hold_metric(folder: Path) -> None:
    """Begin to change a metric, and never end that."""

    def change(number: int) -> int:
        wait()
        return number + 1

    Numbers([0], folder / "metrics", joins=True).change(0, change)


def cross(folder: Path) -> None:
    """Have the lock of the metrics, and take that of the areas in another thread, once there is input."""
    areas = SharedAreas([8], None, os.open(folder / "areas", os.O_RDWR))

    def take() -> None:
        with areas.locked(0):
            sys.stdout.write("taken\n")

    def change(number: int) -> int:
        wait()
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(60)
        return number + 1

    Numbers([0], folder / "metrics", joins=True).change(0, change)


def push(folder: Path, log: str, most: str) -> None:
    """Push that many numbers, and count them; each is in the log as soon as it is pushed."""
    queue, numbers = QueueFile(OPTIONS, str(folder / "queue")), Numbers([0], folder / "metrics", joins=True)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in range(os.fstat(file).st_size // 8, int(most)):
        with queue.transaction() as rules:
            rules.push(number.to_bytes(8, "little"))
        os.write(file, number.to_bytes(8, "little"))
        numbers.change(0, lambda count: count + 1)


def pull(folder: Path, log: str) -> None:
    """Pull until there is a message `end`; what was pulled is in the log."""
    queue = QueueFile(OPTIONS, str(folder / "queue"))
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        with queue.transaction() as rules:
            message = rules.pull()
        if message == b"end":
            return
        if message is not None:
            os.write(file, message)


WHAT: dict[str, Callable[..., None]] = {
    "hold_queue": hold_queue,
    "hold_metric": hold_metric,
    "cross": cross,
    "push": push,
    "pull": pull,
}

if __name__ == "__main__":
    WHAT[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
