"""A cache that several processes share: the rules of `rules.py`, each call in one transaction.

Reading takes no lock. A call that changes something holds LMDB's write lock for the microseconds of its transaction;
other writers wait for it, without holding the GIL. The lock is a robust mutex: if its holder is killed, LMDB passes it
on, and the uncommitted transaction is discarded.

A process that was killed while it read leaves its slot in LMDB's table of readers, and pages that it could see are not
reused. `reader_check` clears such slots: when a file is opened, every 1,000 changes, when the file is full, and in
`clear_dead_readers`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import lmdb

from trio_uwsgi._caches.files import (
    Environment,
    Transaction,
    close,
    empty,
    is_shared,
    open_file,
    opening,
    read_records,
    sync,
)
from trio_uwsgi._caches.records import PREPARED, PREPARED_NAME, USES, decode_use
from trio_uwsgi._caches.rules import COUNTS, CacheLookups, CacheRules, CacheStatistics
from trio_uwsgi._caches.shared_items import CommitAndRepeat, ItemReader, SharedItems, UseTimes
from trio_uwsgi.errors import CacheError

if TYPE_CHECKING:
    from trio_uwsgi._caches.shared_folder import SharedFolder
    from trio_uwsgi.config.options import Cache

__all__ = ["SharedRules"]

_T = TypeVar("_T")
# Rows of counters, 24 bytes each, one per process. If there are more processes, they share the last row, and may lose
# counts.
_ROWS = 512
_ROW = COUNTS * 8
# Changes of this process between two checks for dead readers; a check costs a system call per reader.
_CHANGES_PER_CHECK = 1000


class _Tables:
    """The numbers in shared memory beside a cache's file: the counters of each process, and the use times by slot."""

    def __init__(self, path: str, slots: int) -> None:
        size = _ROWS * _ROW + slots * 8
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Allocate all of it: a write to memory that the system does not have would kill the process.
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size)
            row = self._free_row()
        except BaseException:
            os.close(self._fd)
            raise
        self._numbers = memoryview(self._map).cast("Q")
        # The row of a process that has ended is reused by another one, which continues its counts.
        self.counts = self._numbers[row * COUNTS : (row + 1) * COUNTS]
        self.uses = self._numbers[_ROWS * COUNTS :]

    def _free_row(self) -> int:
        for row in range(_ROWS):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _ROW, row * _ROW)
            except (BlockingIOError, PermissionError):
                continue
            return row
        return _ROWS - 1

    def totals(self) -> list[int]:
        """The counters, summed over all processes."""
        return [sum(self._numbers[place : _ROWS * COUNTS : COUNTS]) for place in range(COUNTS)]

    def close(self) -> None:
        for view in (self.counts, self.uses, self._numbers):
            view.release()
        self._map.close()
        os.close(self._fd)


class _OpenedBeforeFork:
    """Replaces an environment that was opened before a fork."""

    def begin(self, *_: object, **__: object) -> Transaction:
        raise lmdb.Error("the cache was opened before this process was forked; open caches after the fork")

    reader_check = sync = close = begin


class SharedRules:
    """One cache with the methods of `CacheRules`, for any thread of any process that has opened the folder.

    Args:
        spec: its limits, the same in all processes.
        folder: has the file, or, if the cache has a `store`, only the numbers beside it.
        now: the time of day; items of a store that have expired by then are dropped.
    Raises:
        BootError: the file cannot be opened or is not a store; it was not changed.
    """

    def __init__(self, spec: Cache, folder: SharedFolder, now: float) -> None:
        self.spec = spec
        self._path = spec.store or str(folder.file(spec.name, "cache"))
        self._changes = 0
        with opening(spec, self._path):
            self._tables = _Tables(str(folder.file(spec.name, "numbers")), spec.items if spec.lru else 0)
            try:
                self._open(folder.run, now)
            except BaseException:
                self._tables.close()
                raise
        _opened.add(self)

    def _open(self, run: bytes, now: float) -> None:
        uses = UseTimes(self._tables.uses)
        use_times = uses if self.spec.lru else None
        self._uses = uses
        self._env: Environment = open_file(self.spec, self._path)
        try:
            self._env.reader_check()
            self._items = SharedItems(self._env, use_times)
            self._rules = CacheRules(self.spec, items=self._items, counts=self._tables.counts)
            self._counting_reader = ItemReader(self._env, use_times)
            self._counted_lookups = CacheLookups(self.spec, self._counting_reader, self._tables.counts)
            self.get = self._counted_lookups.get
            self._reader = ItemReader(self._env, None)
            self._lookups = CacheLookups(self.spec, self._reader, self._tables.counts)
            with self._env.begin(write=True) as transaction:
                self._prepare(transaction, run, now)
        except BaseException:
            self._env.close()
            raise

    def _prepare(self, transaction: Transaction, run: bytes, now: float) -> None:
        """In the first process of a run, prepare the file for the others, in one transaction."""
        spec, uses = self.spec, self._uses
        limits = (spec.items, spec.max_key, spec.max_value, spec.lru)
        found = PREPARED.unpack(transaction.get(PREPARED_NAME)) if is_shared(transaction) else None
        if found is not None and found[0] == run:
            uses.offset = found[1]
            return
        if found is not None and found[2:] == limits:
            cursor = transaction.cursor()
            if spec.lru and cursor.last() and cursor.key()[:1] == USES:
                # The monotonic clock starts again at each boot; use times in the file may be from an earlier boot.
                uses.offset = max(0, decode_use(cursor.key())[0] + 1 - uses.now())
            transaction.put(PREPARED_NAME, PREPARED.pack(run, uses.offset, *limits))
            return
        records = sorted(read_records(transaction), key=lambda record: record[3])
        empty(self._env, transaction)
        transaction.put(PREPARED_NAME, PREPARED.pack(run, uses.offset, *limits))
        self._items.begin(transaction, uses.now())
        self._rules.load([(key, item) for key, item, _, _ in records], now)
        self._items.end()

    # ----- the calls of CacheRules

    def exists(self, key: bytes, now: float) -> bool:
        return self._lookups.exists(key, now)

    def keys(self, now: float) -> list[bytes]:
        return self._lookups.keys(now)

    def number(self, key: bytes, now: float) -> int:
        return self._counted_lookups.number(key, now)

    def statistics(self, now: float) -> CacheStatistics:
        """The statistics. Exact, except that each killed process may have missed one `get`."""
        while self._reader.any_expired(now):
            self._write(lambda rules: rules.drop_expired(now))
        return CacheStatistics(len(self._reader), *self._tables.totals())

    def set(self, key: bytes, value: bytes, expires: float, now: float) -> bool:
        return self._write(lambda rules: rules.set(key, value, expires, now))

    def update(self, key: bytes, value: bytes, expires: float, now: float) -> None:
        self._write(lambda rules: rules.update(key, value, expires, now))

    def delete(self, key: bytes, now: float) -> bool:
        return self._write(lambda rules: rules.delete(key, now))

    def clear(self) -> None:
        self._write(CacheRules.clear)

    def change(self, key: bytes, change: Callable[[int], int], expires: float, now: float) -> int:
        return self._write(lambda rules: rules.change(key, change, expires, now))

    # ----- the file

    def clear_dead_readers(self) -> None:
        """Clear the slots of readers that were killed, so that their pages are reused."""
        self._env.reader_check()

    def sync(self) -> None:
        """Flush the file to the disk. Blocks; call it in a thread."""
        sync(self._env, self._path)

    def close(self, sync: bool = True) -> None:
        """Close the file in this process; `sync`: flush it to the disk first."""
        close(self._env, sync)
        self._tables.close()

    def disable(self) -> None:
        """Refuse all calls: this process was forked from the one that opened the file, and would damage its locks."""
        self._before_fork = self._env  # keep a reference, because its destructor would close it
        self._env = self._counting_reader.env = self._reader.env = self._items.env = _OpenedBeforeFork()

    # ----- below

    def _write(self, change: Callable[[CacheRules], _T]) -> _T:
        self._changes += 1
        if self._changes % _CHANGES_PER_CHECK == 0:
            self._env.reader_check()
        began = self._uses.now()
        try:
            try:
                return self._commit(change, began)
            except lmdb.MapFullError:
                self._env.reader_check()  # dead readers may keep pages from being reused
                return self._commit(change, began)
        except (lmdb.Error, OSError) as error:
            raise CacheError(f"{self._path} cannot be written ({error}); the cache is unchanged") from error

    def _commit(self, change: Callable[[CacheRules], _T], began: int) -> _T:
        while True:
            transaction = self._env.begin(write=True, buffers=True)
            try:
                self._items.begin(transaction, began)
                result = change(self._rules)
                self._items.end()
            except CommitAndRepeat:
                self._items.end()
                transaction.commit()
                continue
            except BaseException:
                transaction.abort()
                raise
            transaction.commit()
            return result


_opened: weakref.WeakSet[SharedRules] = weakref.WeakSet()


def _disable_all() -> None:
    for rules in _opened:
        rules.disable()


os.register_at_fork(after_in_child=_disable_all)
