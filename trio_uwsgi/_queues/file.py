"""The shared queue in a file: each call is one transaction, so it is made as a whole or not at all.

The file is an LMDB environment, in the shared memory of the runtime's processes or at `Config.queue_store`. Every call,
also one that only reads, holds LMDB's write lock for the microseconds of its transaction, without holding the GIL while
it waits for it. That lock is a robust mutex: if its holder is killed, it passes to the next one, and the uncommitted
transaction is discarded. There are no read transactions, so a killed process leaves nothing else behind.

Its records are the messages, by the number of the slot, and one for the numbers of the ring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING

import lmdb

from trio_uwsgi._caches.files import Environment, Transaction, close, sync
from trio_uwsgi._queues.rules import QueueRules, QueueState
from trio_uwsgi.errors import BootError, QueueError

if TYPE_CHECKING:
    from trio_uwsgi.config.queues import QueueOptions

__all__ = ["QueueFile"]

_STATE = b"trio_uwsgi queue 1"
_NUMBERS = Struct("<6Q")  # the number of slots, then those of `QueueState`
_SLOT = Struct(">Q")
# Space for the pages of the tree besides the messages. The file is sparse, so unused space takes no room.
_SPARE = 16 * 1024 * 1024


class _FileSlots:
    """The messages, inside of the transaction that is set."""

    def __init__(self) -> None:
        self.transaction: Transaction = None

    def get(self, slot: int, /) -> bytes | None:
        message: bytes | None = self.transaction.get(_SLOT.pack(slot))
        return message

    def put(self, slot: int, message: bytes, /) -> None:
        self.transaction.put(_SLOT.pack(slot), message)

    def drop(self, slot: int, /) -> None:
        self.transaction.delete(_SLOT.pack(slot))


class QueueFile:
    """The queue for any thread of any process that has opened the file; each process opens it itself, after its fork.

    Args:
        options: the same in all processes.
        path: of the file, which is created if it does not exist.
    Raises:
        BootError: the file cannot be opened, or is not the store of a queue of this size; it was not changed.
    """

    def __init__(self, options: QueueOptions, path: str) -> None:
        self._path = path
        self._pid = os.getpid()
        self._slots = _FileSlots()
        self._rules = QueueRules(options.size, options.blocksize, self._slots, QueueState())
        try:
            size = 2 * options.size * (options.blocksize + 4096) + _SPARE
            self._env: Environment = lmdb.open(path, subdir=False, map_size=size, sync=False, max_dbs=0, mode=0o600)
            try:
                self._check(options.size)
            except BaseException:
                self._env.close()
                raise
        except OverflowError:
            raise BootError(
                f"{options.size} slots of {options.blocksize} bytes are more than a queue can have; set queue= or "
                f"queue_blocksize= to less"
            ) from None
        except (lmdb.Error, OSError, StructError) as error:
            raise BootError(
                f"the file of the shared queue, {path}, cannot be opened ({error}); move it away if it is not a "
                f"queue's store, and check the permissions and the room there"
            ) from error

    def _check(self, size: int) -> None:
        """Prepare a new file, in one transaction; check one that exists."""
        with self._env.begin(write=True) as transaction:
            numbers = transaction.get(_STATE)
            if numbers is None:
                if transaction.stat()["entries"]:
                    raise lmdb.Error("it is the store of something else")
                transaction.put(_STATE, _NUMBERS.pack(size, 0, 0, 0, 0, 0))
                return
            stored = _NUMBERS.unpack(numbers)[0]
        if stored != size:
            raise BootError(
                f"{self._path} is the store of a queue of {stored} slots, not of {size}; set queue={stored}, on the "
                f"command line --queue {stored}, or move the file away"
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[QueueRules]:
        """The rules, for one call. What it changes is committed at the end of the block.

        Raises:
            QueueError: the file cannot be written, for example because the memory or the disk is full; or this process
                was forked from the one that opened the file.
        """
        if os.getpid() != self._pid:
            raise QueueError(
                "the shared queue was opened before this process was forked; use it in the process that serves, or in "
                "members, which open it after the fork"
            )
        try:
            with self._env.begin(write=True) as transaction:
                numbers = transaction.get(_STATE)
                self._slots.transaction = transaction
                self._rules.state = QueueState(*_NUMBERS.unpack(numbers)[1:])
                yield self._rules
                after = _NUMBERS.pack(self._rules.size, *dataclasses.astuple(self._rules.state))
                if after != numbers:
                    transaction.put(_STATE, after)
        except (lmdb.Error, OSError) as error:
            raise QueueError(f"{self._path} cannot be written ({error}); the shared queue is unchanged") from error

    def sync(self) -> None:
        """Flush the file to the disk. Blocks; call it in a thread."""
        sync(self._env, self._path)

    def close(self, sync: bool) -> None:
        """Close the file in this process; `sync`: flush it to the disk first."""
        close(self._env, sync)
