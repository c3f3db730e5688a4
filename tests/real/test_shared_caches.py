"""Caches that several processes share, some of which are killed."""

from __future__ import annotations

import ast
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.real.shared_cache_peer import Step, answer
from trio_uwsgi._caches.caches import LocalCache
from trio_uwsgi._caches.rules import CacheRules
from trio_uwsgi._caches.shared_cache import SharedRules
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi.config.options import Cache

pytestmark = pytest.mark.real

PEER = Path(__file__).with_name("shared_cache_peer.py")
Peer = subprocess.Popen[bytes]
Start = Callable[..., Peer]


@pytest.fixture
def folder() -> Iterator[SharedFolder]:
    """A folder in shared memory."""
    folder = SharedFolder.make()
    yield folder
    folder.remove()


@pytest.fixture
def start(folder: SharedFolder) -> Iterator[Start]:
    """Starts processes that share a cache in the folder."""
    peers: list[Peer] = []

    def start(what: str, fields: dict[str, Any], *arguments: object) -> Peer:
        peers.append(run(what, folder.path, fields, *arguments))
        return peers[-1]

    yield start
    for peer in peers:
        end(peer)


def run(what: str, where: Path, fields: dict[str, Any], *arguments: object) -> Peer:
    """A process that does this."""
    command = [sys.executable, str(PEER), what, str(where), repr(fields), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def end(peer: Peer) -> None:
    """Leave nothing of it."""
    peer.kill()
    peer.communicate(timeout=60)


def said(peer: Peer) -> Any:
    """The next thing that it says."""
    assert peer.stdout is not None
    return ast.literal_eval(peer.stdout.readline().decode())


def tell(peer: Peer, what: object) -> None:
    """Have it go on."""
    assert peer.stdin is not None
    peer.stdin.write(f"{what!r}\n".encode())
    peer.stdin.flush()


@pytest.mark.long
@pytest.mark.parametrize("stored", [False, True])
def test_no_increment_is_lost_or_counted_twice(
    start: Start, folder: SharedFolder, tmp_path: Path, stored: bool
) -> None:
    """4 processes make 25,000 each, one of which is killed again and again: each acknowledged one is there once."""
    fields: dict[str, Any] = {"items": 10, "store": str(tmp_path / "c.store") if stored else None}
    most = 25_000
    logs = [tmp_path / f"log{number}" for number in range(4)]
    peers = [start("count", fields, log, most) for log in logs]
    kills = 0
    while any(peer.poll() is None for peer in peers):
        time.sleep(random.uniform(0.05, 0.3))
        number = random.randrange(4)
        if kills < 8 and logs[number].exists() and peers[number].poll() is None:
            peers[number].send_signal(signal.SIGKILL)
            kills += peers[number].wait(60) == -signal.SIGKILL
            peers[number] = start("count", fields, logs[number], most)
    assert {0} == {peer.returncode for peer in peers}
    acknowledged = [number for log in logs for (number,) in Struct("<q").iter_unpack(log.read_bytes())]
    assert 4 * most == len(acknowledged) == len(set(acknowledged))
    cache = LocalCache(Cache("c", **fields), time.time, folder)
    # Who was killed between the two may have made one that it did not write down.
    assert max(acknowledged) <= cache.num("n") <= 4 * most + kills
    assert kills
    assert cache._file is not None
    cache._file.close()


@pytest.mark.long
def test_room_and_counts_under_four_processes(start: Start, folder: SharedFolder) -> None:
    """Never more items than there may be, and every get of every process is counted."""
    fields: dict[str, Any] = {"items": 50, "lru": True}
    peers = [start("churn", fields, 80, 5000) for _ in range(4)]
    cache = LocalCache(Cache("c", **fields), time.time, folder)
    most = 0
    while any(peer.poll() is None for peer in peers):
        most = max(most, len(cache.keys()))
    assert 50 == most
    assert [50] * 4 == [said(peer) for peer in peers]
    statistics = cache.statistics()
    assert (50, 20_000, 0) == (statistics.items, statistics.hits + statistics.misses, statistics.full)
    assert cache._file is not None
    cache._file.close()


STEP = st.tuples(
    st.sampled_from(["get", "get", "exists", "set", "update", "delete", "change", "number", "clear", "statistics"]),
    st.sampled_from([b"a", b"b", b"c", b"d", b"k" * 550]),
    st.sampled_from([b"1", b"", b"12345678"]),
    st.integers(0, 3),
)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        pytest.param({"lru": True}, marks=pytest.mark.long),
        pytest.param({"clear_on_full": True}, marks=pytest.mark.long),
    ],
    ids=["plain", "lru", "clear"],
)
def test_two_processes_answer_as_one_cache_in_memory(start: Start, folder: SharedFolder, kind: dict[str, Any]) -> None:
    """Whichever of the two is asked, in whatever order."""
    fields: dict[str, Any] = {"items": 3, **kind}
    peer = start("steps", fields)
    mine = SharedRules(Cache("c", **fields), folder, 0)
    now = [0.0]

    @given(st.lists(st.tuples(st.booleans(), STEP, st.integers(0, 2)), min_size=30, max_size=60))
    @settings(deadline=None, max_examples=150)
    def compare(steps: list[tuple[bool, Step, int]]) -> None:
        plain = CacheRules(Cache("c", **fields))
        mine.clear()
        now[0] += 10
        for there, step, passed in steps:
            now[0] += passed
            if there:
                tell(peer, (step, now[0]))
                got = said(peer)
            else:
                got = answer(mine, step, now[0])
            expected = answer(plain, step, now[0])
            if step[0] == "statistics":  # the counts are those of all examples
                got, expected = (str(found).partition(",")[0] for found in (got, expected))
            assert expected == got
            assert sorted(plain.keys(now[0])) == sorted(mine.keys(now[0]))

    compare()
    mine.close()


@pytest.mark.parametrize("acknowledged", [10, 3000])
def test_a_shared_store_survives_a_kill(start: Start, folder: SharedFolder, tmp_path: Path, acknowledged: int) -> None:
    """Killed in the middle of 10,000 updates, every one that was acknowledged is there, for this run and the next."""
    fields: dict[str, Any] = {"items": 20_000, "store": str(tmp_path / "c.store")}
    cache = LocalCache(Cache("c", **fields), time.time, folder)
    writer = start("update", fields)
    for _ in range(acknowledged):
        said(writer)
    writer.send_signal(signal.SIGKILL)
    assert writer.stdout is not None
    last = int((writer.stdout.read().split() or [str(acknowledged - 1).encode()])[-1])
    for where in (folder, None):
        assert [] == [n for n in range(last + 1) if cache.get(f"key{n}") != b"value%d" % n]
        assert cache.num("total") in (last + 1, last + 2)
        assert cache._file is not None
        cache._file.close()
        if where is not None:
            cache = LocalCache(Cache("c", **fields), time.time)


@pytest.mark.parametrize("write", ["write", "read"])
def test_who_is_killed_in_a_transaction_blocks_nobody(start: Start, folder: SharedFolder, write: str) -> None:
    """Its lock goes to the next one, and pages that it could see are used again."""
    fields: dict[str, Any] = {"items": 100, "max_value": 4096}
    rules = SharedRules(Cache("c", **fields), folder, 0)
    for number in range(100):
        rules.update(b"%d" % number, bytes(4096), 0, 0)
    peer = start("hold", fields, write)
    said(peer)
    end(peer)
    sizes = []
    for _ in range(6):
        for number in range(1000):
            rules.update(b"%d" % (number % 100), bytes(4096), 0, 0)
        sizes.append(os.stat(folder.file("c", "cache")).st_blocks)
    assert sizes[2] == sizes[-1]
    assert 100 == rules.statistics(0).items
    rules.close()


@pytest.mark.long
@pytest.mark.parametrize("old", [False, True])
def test_processes_that_open_at_once(start: Start, folder: SharedFolder, tmp_path: Path, old: bool) -> None:
    """One of them makes the file ready, or takes over what was written before there were versions; the others wait."""
    path = str(tmp_path / "c.store")
    if old:
        with lmdb.open(path, subdir=False, max_dbs=0) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"n", Struct("<dq").pack(math.inf, 10))
    peers = [start("increment", {"items": 10, "store": path}) for _ in range(6)]
    for peer in peers:
        assert "ready" == said(peer)
    for peer in peers:
        tell(peer, "go")
    begun = 10 if old else 0
    assert list(range(begun + 1, begun + 7)) == sorted(said(peer) for peer in peers)


def test_a_fork_cannot_hurt_the_process_it_comes_from(start: Start) -> None:
    """It is told to open caches itself, and the other goes on."""
    peer = start("fork", {"items": 3})
    assert "open caches after the fork" in said(peer)
    assert b"1" == said(peer)


def test_nothing_is_left_in_shared_memory(tmp_path: Path) -> None:
    """A runtime that ends removes its folder, and one that is killed leaves it to the next start."""
    # In the machine's shared memory, the next start may be that of another test.
    for posix_signal, is_left in ((signal.SIGINT, False), (signal.SIGKILL, True)):
        peer = run("serve", tmp_path, {"items": 3})
        path = Path(said(peer))
        assert path.is_dir()
        assert path.parent == tmp_path
        peer.send_signal(posix_signal)
        peer.communicate(timeout=60)
        assert is_left == path.exists()
    folder = SharedFolder.make(tmp_path)
    assert not path.exists()
    folder.remove()
