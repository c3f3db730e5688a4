"""Reap processes that the master has adopted.

The master adopts the children of a dead zygote, to get the members' exact status (see `_process/zygote.py`). With them
it adopts processes that the application started and left behind, for which no code waits. All other children of this
process have code that waits for them: Trio for those that Trio started, a `Child` for each member, and the code that
started it for a child that is older than the server.

So a child is reaped here if it is none of these, and its status was not taken for a second after its end.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import trio

__all__ = ["OWN_CHILDREN", "children_of", "reap_orphans"]

# The pids of zygotes and members: other code takes their status.
OWN_CHILDREN: set[int] = set()

# Seconds in which code that waits for a child takes its status. Trio does so in the next turn of its loop.
_GRACE = 1.0


def children_of(pid: int) -> list[int]:
    """The children of a process, also dead ones; those that other threads than its main one started may be missing."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


async def reap_orphans() -> None:
    """Reap until cancelled, on the main thread, in a standalone server."""
    others = frozenset(children_of(os.getpid()))
    with trio.open_signal_receiver(signal.SIGCHLD) as ended:
        async for _ in ended:
            dead = [pid for pid in children_of(os.getpid()) if pid not in others and _is_dead(pid)]
            if not dead:
                continue
            await trio.sleep(_GRACE)  # a child that ends meanwhile causes another signal
            for pid in dead:
                if pid not in OWN_CHILDREN:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # it has ended


def _is_dead(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # its status was taken
        return False
