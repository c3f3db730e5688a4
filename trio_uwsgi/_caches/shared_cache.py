"""A cache that several processes share: the rules of `_caches/rules.py`, each call one transaction.

Reading waits for nobody. A call that changes something has LMDB's lock for the microseconds of its transaction, and
others that change something wait for it, in this process without the interpreter's lock. The lock is a robust mutex:
when its holder is killed, LMDB gives it to the next one, and what was not committed has never been.

A process that was killed while it read has left its place in LMDB's table of readers, and pages that it could see are
not used again. `clear_dead_readers` clears such places: when a file is opened, every so many changes, when there is no
room, and whenever the master knows of a death.
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
    from trio_uwsgi._caches.rules import Item
    from trio_uwsgi._caches.shared_folder import SharedFolder
    from trio_uwsgi.config.options import Cache

__all__ = ["SharedRules"]

_T = TypeVar("_T")
# Rows for counting, 24 bytes each: one for each process. Those that come when all are taken share the last one, and
# may lose counts to each other.
_ROWS = 512
_ROW = COUNTS * 8
# Changes of this process between two looks for dead readers; a look costs a system call for each reader.
_CHANGES_PER_CHECK = 1000


class _Tables:
    """The numbers in shared memory beside a cache's file: what each process has counted, and uses by slot."""

    def __init__(self, path: str, slots: int) -> None:
        size = _ROWS * _ROW + slots * 8
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # All of it now: a store into memory that the system does not have would end the process.
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size)
            row = self._free_row()
        except BaseException:
            os.close(self._fd)
            raise
        self._numbers = memoryview(self._map).cast("Q")
        # The row of a process that is gone goes to another, which counts on.
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
        """What all processes have counted."""
        return [sum(self._numbers[place : _ROWS * COUNTS : COUNTS]) for place in range(COUNTS)]

    def close(self) -> None:
        for view in (self.counts, self.uses, self._numbers):
            view.release()
        self._map.close()
        os.close(self._fd)


class _OpenedBeforeFork:
    """In the place of a file that was opened before a fork."""

    def begin(self, *_: object, **__: object) -> Transaction:
        raise lmdb.Error("it was opened before this process was forked; open caches after the fork")

    reader_check = sync = close = begin


class SharedRules:
    """One cache, with the calls of `CacheRules`, for any thread of any process that has joined the folder.

    Args:
        spec: its limits. All processes have the same.
        folder: where it is, or, if it has a `store`, where the numbers beside it are.
        now: the time of day, to leave out what has expired when a store is opened.
    Raises:
        BootError: the file cannot be opened or is no store; nothing of it was changed.
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
            self._reader = ItemReader(self._env, None)
            self._lookups = CacheLookups(self.spec, self._reader, self._tables.counts)
            with self._env.begin(write=True) as transaction:
                self._prepare(transaction, run, now)
        except BaseException:
            self._env.close()
            raise

    def _prepare(self, transaction: Transaction, run: bytes, now: float) -> None:
        """The first process of a run makes the file ready for the others, in one transaction."""
        spec, uses = self.spec, self._uses
        limits = (spec.items, spec.max_key, spec.max_value, spec.lru)
        found = PREPARED.unpack(transaction.get(PREPARED_NAME)) if is_shared(transaction) else None
        if found is not None and found[0] == run:
            uses.offset = found[1]
            return
        if found is not None and found[2:] == limits:
            cursor = transaction.cursor()
            if spec.lru and cursor.last() and cursor.key()[:1] == USES:
                # The system's clock began anew with the system, and the uses in the file did not.
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

    def get(self, key: bytes, now: float) -> Item | None:
        return self._counted_lookups.get(key, now)

    def exists(self, key: bytes, now: float) -> bool:
        return self._lookups.exists(key, now)

    def keys(self, now: float) -> list[bytes]:
        return self._lookups.keys(now)

    def number(self, key: bytes, now: float) -> int:
        return self._counted_lookups.number(key, now)

    def statistics(self, now: float) -> CacheStatistics:
        """Exact, but for what a killed process had answered and not counted yet: one `get` for each."""
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

    # ----- of a file

    def clear_dead_readers(self) -> None:
        """Clear the places of readers that were killed, so that pages are used again."""
        self._env.reader_check()

    def sync(self) -> None:
        """Have the system write it to the disk. Takes its time; for a thread."""
        sync(self._env, self._path)

    def close(self, sync: bool = True) -> None:
        """This process uses it no more. Write it to the disk, if told so."""
        close(self._env, sync)
        self._tables.close()

    def disable(self) -> None:
        """This process is a fork of the one that opened it: whatever it does with it would hurt the other."""
        self._before_fork = self._env  # kept, because letting go of it would close it
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
                self._env.reader_check()  # the dead may keep pages from being used again
                return self._commit(change, began)
        except (lmdb.Error, OSError) as error:
            raise CacheError(f"{self._path} did not take it ({error}); the cache is unchanged") from error

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
