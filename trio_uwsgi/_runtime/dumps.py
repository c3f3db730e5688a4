"""What a process says about itself when it is stuck: its Trio tasks, and the Python stacks of all threads. Floor 3.

Two posix signals, because no single way answers always:
    SIGUSR1   a handler in Python prints the tree of Trio tasks. It runs between two byte codes of the main thread, so
              not while C code keeps the GIL.
    SIGUSR2   faulthandler prints the stacks from C, whatever holds the GIL.
Both write to descriptor 2, past `sys.stderr`, whose lock the stuck code may hold.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from types import FrameType

import trio

__all__ = ["STACKS", "TASK_TREE", "answer_dumps", "dump_here", "task_tree"]

TASK_TREE = signal.SIGUSR1
STACKS = signal.SIGUSR2

_STDERR = 2


def answer_dumps() -> None:
    """Let this process answer both signals. Main thread only. A forked child inherits it, what it executes does not."""
    faulthandler.register(STACKS, file=_STDERR, all_threads=True, chain=False)
    signal.signal(TASK_TREE, _print_task_tree)


def dump_here() -> None:
    """Print both of this process."""
    _print_task_tree(TASK_TREE, None)
    faulthandler.dump_traceback(_STDERR, all_threads=True)


def _print_task_tree(signum: int, frame: FrameType | None) -> None:
    os.write(_STDERR, "".join(f"{line}\n" for line in task_tree()).encode(errors="backslashreplace"))


def task_tree() -> Iterator[str]:
    """The Trio tasks of the run that this code interrupts or is called from, one a line, with where they wait."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        root = None
    if root is None:
        yield f"process {os.getpid()}: no Trio run"
        return
    yield f"process {os.getpid()}: Trio tasks"
    yield from _subtree(root, 1)


def _subtree(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    places = " > ".join(f"{frame.f_code.co_name}:{line}" for frame, line in task.iter_await_frames())
    yield f"{'  ' * depth}{task.name} at {places or 'its start'}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _subtree(child, depth + 1)
