"""Processes that the master has adopted: they are reaped when they end.

The master adopts whom a zygote leaves behind, for the sake of the members' exact status (see `zygote.py`), and gets
what the application has started and left behind, too. Nobody waits for that. For other children of this process
somebody does: Trio for those it has started, a `Child` for each member, and whoever started it for what was there
before.

So a child is reaped here when it is none of these, and was dead for a whole second without anybody taking its status.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import trio

__all__ = ["OWN_CHILDREN", "children_of", "reap_orphans"]

# Zygotes and members, by pid: whoever runs them takes their status.
OWN_CHILDREN: set[int] = set()

# Seconds in which whoever waits for a child has its status. In Trio's own loop it is a matter of its next turn.
_GRACE = 1.0


def children_of(pid: int) -> list[int]:
    """The children of a process, dead ones too; those that other threads than its first one have started may lack."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


async def reap_orphans() -> None:
    """Do so until cancelled, on the main thread, in a process that is ours."""
    others = frozenset(children_of(os.getpid()))
    with trio.open_signal_receiver(signal.SIGCHLD) as ended:
        async for _ in ended:
            dead = [pid for pid in children_of(os.getpid()) if pid not in others and _is_dead(pid)]
            if not dead:
                continue
            await trio.sleep(_GRACE)  # who ends meanwhile is looked at after this
            for pid in dead:
                if pid not in OWN_CHILDREN:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # it has ended


def _is_dead(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody has taken its status
        return False
