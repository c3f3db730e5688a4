"""The shared queue and metrics of several processes, some of which are killed."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct

import pytest

from tests.real.process_runtimes import process_runtime
from tests.real.shared_numbers_peer import OPTIONS
from trio_uwsgi import Metric
from trio_uwsgi._metrics.numbers import Numbers
from trio_uwsgi._queues.file import QueueFile
from trio_uwsgi._shared_areas.areas import SharedAreas

pytestmark = pytest.mark.real

PEER = Path(__file__).with_name("shared_numbers_peer.py")
Peer = subprocess.Popen[bytes]
Start = Callable[..., Peer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that share the queue and the metrics of the folder."""
    peers: list[Peer] = []

    def start(what: str, *arguments: object) -> Peer:
        command = [sys.executable, str(PEER), what, str(tmp_path), *map(str, arguments)]
        peers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return peers[-1]

    yield start
    for peer in peers:
        peer.kill()
        peer.communicate(timeout=60)


def kill(peer: Peer) -> bool:
    """Kill it; False: it had ended."""
    peer.send_signal(signal.SIGKILL)
    return peer.wait(60) == -signal.SIGKILL


def numbers_in(log: Path) -> list[int]:
    """The numbers that a process has written down."""
    return [number for (number,) in Struct("<q").iter_unpack(log.read_bytes())]


def test_who_is_killed_in_a_call_of_the_queue_has_not_made_it(start: Start, tmp_path: Path) -> None:
    """What it had begun is undone, and the lock passes to the next call."""
    queue = QueueFile(OPTIONS, str(tmp_path / "queue"))
    with queue.transaction() as rules:
        rules.push(b"first")
    holder = start("hold_queue")
    assert holder.stdout is not None
    assert b"there\n" == holder.stdout.readline()
    assert kill(holder)
    with queue.transaction() as rules:
        assert [b"first", None] == rules.last(2)
        assert (b"first", None) == (rules.pull(), rules.pull())
    queue.close(sync=False)


def test_who_is_killed_in_a_change_of_a_metric_has_not_made_it(start: Start, tmp_path: Path) -> None:
    """The number is the old one, and the lock is free."""
    numbers = Numbers([5], tmp_path / "metrics")
    holder = start("hold_metric")
    assert holder.stdout is not None
    assert b"there\n" == holder.stdout.readline()
    assert kill(holder)
    assert 6 == numbers.change(0, lambda number: number + 1)
    numbers.close()


def test_locks_that_cross_are_no_deadlock(start: Start, tmp_path: Path) -> None:
    """This process has the lock of the areas and waits for that of the metrics, another one the reverse, in other
    threads: the kernel takes that for a deadlock, and it is none.
    """
    numbers = Numbers([0], tmp_path / "metrics")
    areas = SharedAreas([8], None, os.open(tmp_path / "areas", os.O_RDWR | os.O_CREAT))
    crossing = start("cross")
    assert crossing.stdin is not None
    assert crossing.stdout is not None
    assert b"there\n" == crossing.stdout.readline()
    other = threading.Thread(target=numbers.change, args=(0, lambda number: number + 1))
    with areas.locked(0):
        other.start()
        while not re.search(rf"-> POSIX .* {os.getpid()} ", Path("/proc/locks").read_text()):
            time.sleep(0.01)
        crossing.stdin.write(b"\n")
        crossing.stdin.flush()
        time.sleep(0.2)  # it asks for the lock that is held here
    assert b"taken\n" == crossing.stdout.readline()
    other.join(60)
    assert 0 == crossing.wait(60)
    assert 2 == numbers.get(0)
    numbers.close()


def test_messages_pass_in_order_while_processes_are_killed(start: Start, tmp_path: Path) -> None:
    """Each message that is pushed is pulled at most once, in order; a kill costs the one in hand at most."""
    queue, numbers = QueueFile(OPTIONS, str(tmp_path / "queue")), Numbers([0], tmp_path / "metrics")
    most, kills = 2000, [0, 0]
    logs = [tmp_path / "pushed", tmp_path / "pulled"]
    arguments: list[tuple[object, ...]] = [("push", logs[0], most), ("pull", logs[1])]
    peers = [start(*given) for given in arguments]
    while peers[0].poll() is None:
        time.sleep(random.uniform(0.05, 0.2))
        number = random.randrange(2)
        if sum(kills) < 4 and logs[number].exists() and peers[0].poll() is None:
            kills[number] += kill(peers[number])
            peers[number] = start(*arguments[number])
    assert 0 == peers[0].returncode
    with queue.transaction() as rules:
        rules.push(b"end")
    assert 0 == peers[1].wait(60)
    pushed, pulled = numbers_in(logs[0]), numbers_in(logs[1])
    assert list(range(most)) == pushed
    # Who was killed before it wrote a push down makes it again.
    repeated = len(pulled) - len(set(pulled))
    assert sorted(pulled) == pulled
    assert repeated <= kills[0]
    with queue.transaction() as rules:
        found = rules.statistics()
    assert most + 1 <= found.pushed <= most + 1 + kills[0]
    assert (0, found.pushed) == (found.waiting, found.taken + found.overwritten)
    assert found.taken - 1 - kills[1] <= len(pulled) <= found.taken - 1
    assert most - kills[0] <= numbers.get(0) <= most
    queue.close(sync=False)
    numbers.close()


async def test_a_killed_worker_leaves_queue_and_metrics(tmp_path: Path) -> None:
    """Its successor and the master have what it had done."""
    async with process_runtime(
        tmp_path,
        """
async def add(text):
    uwsgi.queue_push(text)
    return uwsgi.metric_inc("added")

async def take():
    return (uwsgi.queue_pull() or b"none").decode()

async def die():
    os.kill(os.getpid(), signal.SIGKILL)
""",
        queue=3,
        metrics=[Metric("added", initial_value=10)],
    ) as server:
        assert ["11", "12"] == [await server.get("/add?one"), await server.get("/add?two")]
        await server.get("/die")
        assert ["one", "13", "two"] == [await server.get(path) for path in ("/take", "/add?three", "/take")]
        statistics = server.runtime.statistics()
        assert statistics.queue is not None
        assert (3, 2, 1) == (statistics.queue.pushed, statistics.queue.taken, statistics.queue.waiting)
        assert [13] == [metric.value for metric in statistics.metrics]
    assert statistics.queue == server.runtime.statistics().queue
    assert not list(Path("/dev/shm").glob(f"trio_uwsgi-{os.getpid()}-*"))
