"""The event buffer: memory to which the members' processes append entries, and from which the test reads them.

The processes inherit it from the test, from which they are forked. An entry is readable as soon as it is written,
even if its writer is killed right afterwards. The kernel appends one entry after the other, so all processes see the
same order.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import struct
from typing import Any

__all__ = ["EventBuffer"]

_LENGTH = struct.Struct("I")


class EventBuffer:
    """An append-only list in memory. Any number of processes and threads may write; one process reads."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("trio_uwsgi", os.MFD_CLOEXEC)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._read = 0  # bytes

    def write(self, entry: object) -> None:
        """Append an entry, which has to be picklable."""
        data = pickle.dumps(entry)
        os.write(self._descriptor, _LENGTH.pack(len(data)) + data)

    def read(self) -> list[Any]:  # Any: what was written
        """Return the entries since the last call. One that is only partly written yet is returned by the next call."""
        if self._descriptor < 0:
            return []
        size = os.fstat(self._descriptor).st_size
        data = os.pread(self._descriptor, size - self._read, self._read) if size > self._read else b""
        entries, place = [], 0
        while place + _LENGTH.size <= len(data):
            end = place + _LENGTH.size + _LENGTH.unpack_from(data, place)[0]
            if end > len(data):
                break
            entries.append(pickle.loads(data[place + _LENGTH.size : end]))
            place = end
        self._read += place
        return entries

    def close(self) -> None:
        """Release the memory in this process, where `read` gives nothing afterwards. Other processes keep it."""
        os.close(self._descriptor)
        self._descriptor = -1
