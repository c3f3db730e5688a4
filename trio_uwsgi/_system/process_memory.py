"""How much memory a process uses."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["process_memory"]


def process_memory(pid: int) -> tuple[int, int]:
    """The resident memory of a process, shared included, and its address space, in bytes.

    Where the system has no /proc: the most that this process has used, and 0; of another process nothing. Of a process
    that has ended, nothing.
    """
    try:
        size, resident = Path(f"/proc/{pid}/statm").read_text().split()[:2]
    except (OSError, ValueError):
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if pid == os.getpid() else 0), 0
    page = resource.getpagesize()
    return int(resident) * page, int(size) * page
