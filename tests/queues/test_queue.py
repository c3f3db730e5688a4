"""The shared queue in a file, as far as one process can show it; the rest is in tests/real/test_shared_queues.py."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_uwsgi._queues.file import QueueFile
from trio_uwsgi._queues.queue import Queue
from trio_uwsgi._queues.rules import MemorySlots, QueueRules, QueueState, QueueStatistics
from trio_uwsgi.config.queues import QueueOptions
from trio_uwsgi.errors import BootError, QueueError

OPTIONS = QueueOptions(size=3, blocksize=4)
STEP = st.tuples(
    st.sampled_from(["push", "push", "pull", "pop", "get", "set", "last", "slots"]),
    st.integers(-1, 3),
    st.sampled_from([b"a", b"b", b"long", b"longer", b""]),
)


def answer(rules: QueueRules, step: tuple[str, int, bytes]) -> object:
    """Take a step, and say what came of it."""
    what, number, message = step
    calls: dict[str, Callable[[], object]] = {
        "push": lambda: rules.push(message),
        "pull": rules.pull,
        "pop": rules.pop,
        "get": lambda: rules.get(number),
        "set": lambda: rules.set(number, message),
        "last": lambda: rules.last(number),
        "slots": lambda: (rules.state.slot, rules.pull_slot, rules.statistics()),
    }
    try:
        return calls[what]()
    except QueueError as error:
        return str(error)


@given(steps=st.lists(STEP, min_size=5, max_size=40))
@settings(deadline=None, max_examples=50)
def test_a_file_answers_as_memory_does(steps: list[tuple[str, int, bytes]]) -> None:
    """Whatever is done in whatever order, also when the file is closed and opened again in between."""
    model = QueueRules(OPTIONS.size, OPTIONS.blocksize, MemorySlots(), QueueState())
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/queue"
        file = QueueFile(OPTIONS, path)
        for number, step in enumerate(steps):
            if number % 10 == 9:
                file.close(sync=False)
                file = QueueFile(OPTIONS, path)
            with file.transaction() as rules:
                found = answer(rules, step)
            assert answer(model, step) == found
        file.close(sync=False)


def test_a_call_that_fails_changes_nothing(tmp_path: Path) -> None:
    """What a transaction has written before an error is gone with it."""
    file = QueueFile(OPTIONS, str(tmp_path / "queue"))

    def fail() -> None:
        with file.transaction() as rules:
            rules.push(b"a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with file.transaction() as rules:
        assert (None, 0) == (rules.get(0), rules.statistics().pushed)
    file.close(sync=False)


def test_a_store_of_another_size_is_refused(tmp_path: Path) -> None:
    """The error says which size it has."""
    path = str(tmp_path / "store")
    QueueFile(OPTIONS, path).close(sync=True)
    with pytest.raises(BootError, match="a queue of 3 slots, not of 4; set queue=3"):
        QueueFile(QueueOptions(size=4), path)


def test_files_that_are_no_store_are_left_alone(tmp_path: Path) -> None:
    """Text, the store of something else, and a store with other numbers."""
    text, other, odd = tmp_path / "text", tmp_path / "other", tmp_path / "odd"
    text.write_text("my diary, page one. " * 1000)
    for path, key in ((other, b"other"), (odd, b"trio_uwsgi queue 1")):
        with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as transaction:
            transaction.put(key, b"x")
    for path in (text, other, odd):
        before = path.read_bytes()
        with pytest.raises(BootError, match="move it away if it is not a queue's store"):
            QueueFile(OPTIONS, str(path))
        assert before == path.read_bytes()


def test_a_queue_that_no_file_can_hold() -> None:
    """The error names the options."""
    with pytest.raises(BootError, match="set queue= or queue_blocksize= to less"):
        QueueFile(QueueOptions(size=2**40, blocksize=2**40), "/nowhere/queue")


FULL = """
import resource, signal, sys
from trio_uwsgi._queues.file import QueueFile
from trio_uwsgi.config.queues import QueueOptions
from trio_uwsgi.errors import QueueError
file = QueueFile(QueueOptions(size=100, blocksize=100_000), sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
pushed = 0
try:
    while True:
        with file.transaction() as rules:
            rules.push(bytes(100_000))
        pushed += 1
except QueueError as error:
    print("unchanged" in str(error))
with file.transaction() as rules:
    print(rules.statistics().waiting == pushed > 3, rules.pull() == bytes(100_000))
"""


def test_a_file_that_takes_no_more(tmp_path: Path) -> None:
    """The call fails, the queue has what it had, and a message can be taken all the same."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "queue")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ["True", "True", "True"] == done.stdout.split()


def test_a_fork_is_told_to_open_it_itself(tmp_path: Path) -> None:
    """The file belongs to the process that has opened it, which goes on."""
    file = QueueFile(OPTIONS, str(tmp_path / "queue"))
    child = os.fork()
    if child == 0:
        try:
            with file.transaction() as rules:
                rules.push(b"a")
        except QueueError as error:
            os._exit("before this process was forked" in str(error))
        os._exit(0)
    assert 1 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with file.transaction() as rules:
        assert rules.push(b"b")
        assert b"b" == rules.pull()
    file.close(sync=False)


async def test_a_store_keeps_the_messages(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Across two runs; it is flushed at the interval, and the numbers at the end remain."""
    options = QueueOptions(size=3, store=str(tmp_path / "store"), store_sync=10)
    queue = Queue(options, lambda: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(queue.serve)
        assert queue.push("a")
        queue.set(2, b"c")
        await trio.sleep(25)
        nursery.cancel_scope.cancel()
    ended = QueueStatistics(slots=3, waiting=1, pushed=1, taken=0, overwritten=0)
    assert ended == queue.statistics()
    with pytest.raises(QueueError, match="the runtime has ended"):
        queue.push("b")
    queue = Queue(options, lambda: None, joins=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(queue.serve)
        assert (b"a", b"c", 1, 1) == (queue.pull(), queue.get(2), queue.slot(), queue.pull_slot())
        nursery.cancel_scope.cancel()
    assert [] == caplog.records
