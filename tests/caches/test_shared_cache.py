"""Caches that processes share, as far as one process can show it; the rest is in tests/real/test_shared_caches.py."""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from struct import Struct

import lmdb
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_uwsgi._caches.caches import Caches, LocalCache
from trio_uwsgi._caches.rules import CacheRules
from trio_uwsgi._caches.shared_cache import SharedRules
from trio_uwsgi._caches.shared_folder import SharedFolder
from trio_uwsgi.config.options import Cache
from trio_uwsgi.errors import BootError, CacheError, CacheFull, CacheItemTooLarge

SPECS = [
    Cache("c", items=3, max_value=8, max_key=600),
    Cache("c", items=3, max_value=8, max_key=600, lru=True, math_initial=7),
    Cache("c", items=3, max_value=8, max_key=600, clear_on_full=True),
]
KEYS = [b"a", b"b", b"c", b"d", b"k" * 550, b"", b"k" * 601]
STEP = st.tuples(
    st.sampled_from(["get", "exists", "set", "update", "delete", "change", "number", "clear"]),
    st.sampled_from(KEYS[:5]) | st.sampled_from(KEYS),
    st.sampled_from([b"1", b"", b"12345678", b"123456789"]),
    st.integers(0, 3),
    st.integers(0, 2),
)


@pytest.fixture
def folder() -> Iterator[SharedFolder]:
    """A folder in shared memory."""
    folder = SharedFolder.make()
    yield folder
    folder.remove()


def answer(rules: CacheRules | SharedRules, step: tuple[str, bytes, bytes, int, int], now: float) -> object:
    """Take a step, and say what came of it."""
    what, key, value, expires, _ = step
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: rules.get(key, now),
        "exists": lambda: rules.exists(key, now),
        "set": lambda: rules.set(key, value, expires, now),
        "update": lambda: rules.update(key, value, expires, now),
        "delete": lambda: rules.delete(key, now),
        "change": lambda: rules.change(key, lambda number: number * 3 + expires, expires, now),
        "number": lambda: rules.number(key, now),
        "clear": rules.clear,
    }
    try:
        return calls[what]()
    except (CacheError, CacheFull, CacheItemTooLarge) as error:
        return type(error), str(error)


@pytest.mark.parametrize(
    "spec",
    [SPECS[0], *(pytest.param(spec, marks=pytest.mark.long) for spec in SPECS[1:])],
    ids=["plain", "lru", "clear"],
)
@given(steps=st.lists(STEP, min_size=20, max_size=60))
@settings(deadline=None)
def test_every_answer_is_that_of_a_cache_in_memory(
    spec: Cache, steps: list[tuple[str, bytes, bytes, int, int]]
) -> None:
    """Whatever is done in whatever order, with every limit, whoever asks cannot tell the two apart."""
    folder = SharedFolder.make()
    shared, plain = SharedRules(spec, folder, 0), CacheRules(spec)
    now = 0.0
    try:
        for step in steps:
            now += step[-1]
            assert answer(plain, step, now) == answer(shared, step, now)
            assert sorted(plain.keys(now)) == sorted(shared.keys(now))
            assert sorted(plain.keys(now)) == sorted(shared._write(partial(CacheRules.keys, now=now)))
        assert plain.statistics(now) == shared.statistics(now)
    finally:
        shared.close()
        folder.remove()


def write_version_1(path: Path, items: dict[bytes, bytes]) -> None:
    """A store as it was written before there were versions."""
    with lmdb.open(str(path), subdir=False, max_dbs=0) as environment, environment.begin(write=True) as transaction:
        for key, value in items.items():
            transaction.put(key, Struct("<d").pack(math.inf) + value)


@pytest.mark.parametrize("shared", [False, True])
def test_a_store_of_version_1_is_taken_over(tmp_path: Path, folder: SharedFolder, shared: bool) -> None:
    """With all its items, whatever they are called."""
    old = {b"a": b"1", b"V": b"2", b"p" * 511: b"3"}
    write_version_1(tmp_path / "c.store", old)
    for _ in range(2):
        spec = Cache("c", items=9, store=str(tmp_path / "c.store"))
        cache = LocalCache(spec, lambda: 0.0, folder if shared else None)
        assert old == {key: cache.get(key) for key in list(cache.keys())}
        assert cache._file is not None
        cache._file.close()


def test_a_store_goes_from_one_process_to_many_and_back(tmp_path: Path) -> None:
    """Items, expiry and, from many to many and to one, the order of use; what has no place any more is left out."""
    spec = Cache("c", items=3, lru=True, store=str(tmp_path / "c.store"))
    runs: list[tuple[bool, Cache, str, list[bytes]]] = [
        (False, spec, "abc", [b"a", b"b", b"c"]),
        (True, spec, "ad", [b"a", b"c", b"d"]),
        (True, spec, "e", [b"a", b"d", b"e"]),
        (True, Cache("c", items=2, lru=True, store=spec.store), "", [b"d", b"e"]),
        (False, spec, "f", [b"d", b"e", b"f"]),
    ]
    for shared, kind, updates, expected in runs:
        folder = SharedFolder.make()
        cache = LocalCache(kind, lambda: 5.0, folder if shared else None)
        for key in updates:
            cache.update(key, key, 1 if key == "x" else 0)
        assert expected == sorted(cache.keys())
        assert cache._file is not None
        cache._file.close()
        folder.remove()


def test_what_is_no_store_is_left_alone(tmp_path: Path, folder: SharedFolder) -> None:
    """The start fails and says what to do, and the next one can try again."""
    path = tmp_path / "c.store"
    with lmdb.open(str(path), subdir=False, max_dbs=0) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"diary", b"p. 1")
    before = path.read_bytes()
    for where in (folder, None, folder):
        with pytest.raises(BootError, match="is not a cache's"):
            LocalCache(Cache("c", items=3, store=str(path)), lambda: 0.0, where)
    assert before == path.read_bytes()


def test_clearing_and_filling_again_and_again_takes_no_more_room(folder: SharedFolder) -> None:
    """Pages that were dropped are used again, and so are slots."""
    spec = Cache("c", items=200, max_value=1000, lru=True)
    rules = SharedRules(spec, folder, 0)
    sizes = []
    for _ in range(30):
        for number in range(300):
            rules.update(b"%d" % number, bytes(1000), number, 0)
        for number in range(100, 200):
            rules.delete(b"%d" % number, 0)
        rules.clear()
        sizes.append(os.stat(folder.file("c", "cache")).st_blocks)
    assert sizes[5] == sizes[-1]
    rules.close()


def test_no_memory_is_an_error_of_the_call(folder: SharedFolder) -> None:
    """A file that takes no more says so, and what was there is there."""
    rules = SharedRules(Cache("c", items=3), folder, 0)
    rules.update(b"a", b"1", 0, 0)
    rules._env.set_mapsize(1 << 16)
    with pytest.raises(CacheError, match="cannot be written"):
        rules.update(b"b", bytes(65536), 0, 0)
    assert (b"1", math.inf) == rules.get(b"a", 0)
    assert 1 == rules.statistics(0).items
    rules.close()
    with pytest.raises(CacheError, match="cannot be read"):
        rules.get(b"a", 0)
    with pytest.raises(CacheError, match="cannot be written"):
        rules.update(b"a", b"", 0, 0)


async def test_caches_of_a_runtime_share_a_folder(tmp_path: Path) -> None:
    """The first process makes it and removes it; one that joins finds it by its path, and one that is late is told."""
    specs = [Cache("a/b", items=3), Cache("c", items=3, store=str(tmp_path / "c.store"), store_sync=60)]
    caches = Caches(specs, lambda: 0.0, shared=True)
    assert caches.folder is None
    async with trio.open_nursery() as nursery:
        await nursery.start(caches.serve)
        folder = caches.folder
        assert folder is not None
        assert folder.is_dir()
        caches.get("").update("x", "1")
        caches.get("c").inc("n", 5)
        caches.clear_dead_readers()
        assert "<LocalCache 'c': CacheStatistics(items=1, hits=0, misses=0, full=0)>" == repr(caches.get("c"))
        nursery.cancel_scope.cancel()
    assert not folder.exists()
    with pytest.raises(BootError, match="cannot be opened"):
        await Caches(specs, lambda: 0.0, shared=str(folder)).serve()
    joined = SharedFolder.make(tmp_path)
    others = Caches(specs, lambda: 0.0, shared=joined.path)
    async with trio.open_nursery() as nursery:
        await nursery.start(others.serve)
        assert 5 == others.get("c").num("n")
        nursery.cancel_scope.cancel()
    assert joined.path.is_dir()
    joined.remove()


def test_folders_of_which_nothing_is_left_are_removed(tmp_path: Path) -> None:
    """At the next start; not those that somebody has, and no other ones."""
    mine = SharedFolder.make(tmp_path)
    for name in ("trio_uwsgi-1-left", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.cache").write_text("x")
    also = SharedFolder(mine.path)
    mine.close()
    again = SharedFolder.make(tmp_path)
    assert {also.path.name, again.path.name, "other"} == {path.name for path in tmp_path.iterdir()}
    also.close()
    again.remove()
    assert not again.path.exists()


@pytest.mark.real
def test_runtimes_that_start_at_once_take_no_folder_from_each_other(tmp_path: Path) -> None:
    """One that finds a new folder before its maker has locked it removes it; the maker makes another one."""
    code = (
        "import sys; from pathlib import Path; from trio_uwsgi._caches.shared_folder import SharedFolder\n"
        "for _ in range(150): SharedFolder.make(Path(sys.argv[1])).remove()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    runtimes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [""] * 3 == [process.communicate(timeout=60)[1] for process in runtimes]
    assert [] == list(tmp_path.iterdir())


def test_a_cache_may_be_called_anything(folder: SharedFolder) -> None:
    """Each has a file of its own, in the folder."""
    names = ["a", "a/b", "../a", "%", "ä" * 300, "ä" * 301]
    files = {folder.file(name, "cache") for name in names}
    assert len(names) == len(files)
    for file in files:
        assert folder.path == file.parent
        file.touch()


def test_more_processes_than_rows_share_the_last_one(folder: SharedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is refused because of what is only counted."""

    def taken(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "lockf", taken)
    rules = SharedRules(Cache("c", items=3), folder, 0)
    rules.get(b"a", 0)
    assert 1 == rules.statistics(0).misses
    rules.close()
