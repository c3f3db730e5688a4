"""The shared queue of a runtime, for members and their threads.

The rules are in `rules.py`. A queue of one process uses them with a lock, because threads call it directly; one that
processes share, or that has a store, uses them in a transaction of `file.py`. Members need not know which kind it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._queues.file import QueueFile
from trio_uwsgi._queues.rules import MemorySlots, QueueRules, QueueState, QueueStatistics, message_bytes
from trio_uwsgi.errors import QueueError

if TYPE_CHECKING:
    from trio_uwsgi.config.queues import QueueOptions

__all__ = ["Queue"]


class Queue:
    """The shared queue. Its methods never wait, and any thread may call them; `uwsgi/_queues.py` says what they do.

    Args:
        options: its size and its store; with a size of 0 there is no queue.
        folder: the folder that the runtime's processes share, once it exists; None if members are tasks.
        joins: another process, the master, looks after the store.
    """

    def __init__(self, options: QueueOptions, folder: Callable[[], Path | None], joins: bool = False) -> None:
        self._options = options
        self._folder = folder
        self._joins = joins
        self._lock = threading.Lock()
        self._memory = QueueRules(options.size, options.blocksize, MemorySlots(), QueueState())
        self._file: QueueFile | None = None
        self._is_closed = False
        self._last: QueueStatistics | None = None  # of a file, when it was closed

    def open(self) -> None:
        """Open the queue's file, if it has one and is not open.

        Raises:
            BootError: it cannot be opened.
        """
        path = self._options.store
        if path is None and (folder := self._folder()) is not None:
            path = str(folder / "queue")
        if self._options.size and path is not None and self._file is None:
            self._file = QueueFile(self._options, path)

    def close(self) -> None:
        """Close the queue's file, if it is open. Its last numbers are kept."""
        if self._file is None or self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(QueueError):  # a file that cannot be written any more
            self._last = self.statistics()
        self._file.close(sync=self._options.store is not None and not self._joins)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the queue, wait until cancelled, close it.

        Raises:
            BootError: its file cannot be opened.
        """
        self.open()
        task_status.started()
        if (file := self._file) is None:
            return
        try:
            if self._joins or not self._options.store_sync:
                await trio.sleep_forever()
            while True:
                await trio.sleep(self._options.store_sync)
                await trio.to_thread.run_sync(file.sync)
        finally:
            self.close()

    @contextlib.contextmanager
    def _rules(self) -> Iterator[QueueRules]:
        if not self._options.size:
            raise QueueError("this runtime has no shared queue; set Config(queue=100), on the command line --queue 100")
        if self._last is not None:
            raise QueueError("the runtime has ended, and its shared queue is closed; use it while the runtime serves")
        with self._lock:
            if self._file is None:
                yield self._memory
            else:
                with self._file.transaction() as rules:
                    yield rules

    def push(self, message: str | bytes) -> bool:
        """Append a message. False: the queue was full, and the oldest message was overwritten."""
        data = message_bytes(message)
        with self._rules() as rules:
            return rules.push(data)

    def pull(self) -> bytes | None:
        """Take the oldest message."""
        with self._rules() as rules:
            return rules.pull()

    def pop(self) -> bytes | None:
        """Take the newest message."""
        with self._rules() as rules:
            return rules.pop()

    def get(self, slot: int) -> bytes | None:
        """The message of a slot."""
        with self._rules() as rules:
            return rules.get(slot)

    def set(self, slot: int, message: str | bytes) -> None:
        """Replace the message of a slot."""
        data = message_bytes(message)
        with self._rules() as rules:
            rules.set(slot, data)

    def last(self, count: int) -> list[bytes | None]:
        """The messages that were pushed last, the newest first."""
        with self._rules() as rules:
            return rules.last(count)

    def slot(self) -> int:
        """The slot of the next push."""
        with self._rules() as rules:
            return rules.state.slot

    def pull_slot(self) -> int:
        """The slot of the next pull."""
        with self._rules() as rules:
            return rules.pull_slot

    def statistics(self) -> QueueStatistics | None:
        """The numbers of the queue, those at its end if the runtime has ended; None if there is no queue."""
        if not self._options.size or self._last is not None:
            return self._last
        with self._rules() as rules:
            return rules.statistics()
