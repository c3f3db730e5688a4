"""A book in memory: what several processes write down, in one order, for one of them to read.

A process has it from the one that it was forked from. What is written is there for the reader at once, however its
writer ends; and as the kernel appends one entry after the other, the order is the same for all.
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
    """The book. Any number of processes and threads may write; one reads."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("trio_uwsgi", os.MFD_CLOEXEC)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._read = 0  # bytes

    def write(self, entry: object) -> None:
        """Append an entry, which has to be one that can be pickled."""
        data = pickle.dumps(entry)
        os.write(self._descriptor, _LENGTH.pack(len(data)) + data)

    def read(self) -> list[Any]:  # Any: what was written
        """What has been written and was not read. An entry that is being written in this moment comes next time."""
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
        """Let go of the memory. Other processes keep it; here nothing more is found in it."""
        os.close(self._descriptor)
        self._descriptor = -1
