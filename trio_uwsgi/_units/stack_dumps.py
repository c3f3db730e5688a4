"""Stack dumps of a process that is stuck: its Trio tasks, and the Python stacks of all threads.

There are two POSIX signals, because neither works always:
    SIGUSR1   a handler in Python prints the tree of Trio tasks. It runs between two bytecodes of the main thread, so
              not while C code holds the GIL.
    SIGUSR2   faulthandler prints the stacks from C, even while other code holds the GIL.
Both write to descriptor 2 and not to `sys.stderr`, whose lock the stuck code may hold. Errors of writing are ignored,
because they would be raised in the code that the signal interrupts.

A task is shown with its unit of work and its place in the code. Of consecutive frames of this package, Trio and the
like only the first is shown, without its folder, so that the application's own frames stand out.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from collections.abc import Iterator
from types import FrameType

import trio

from trio_uwsgi._system.forks import call_in_forked_children
from trio_uwsgi._system.process_titles import process_label
from trio_uwsgi._system.standard_streams import write_error
from trio_uwsgi._units.stuck import is_plumbing
from trio_uwsgi._units.trio_threads import await_frames
from trio_uwsgi._units.unit import UNIT

__all__ = ["STACKS", "TASK_TREE", "answer_dumps", "dump_here", "task_tree"]

TASK_TREE = signal.SIGUSR1
STACKS = signal.SIGUSR2

_STDERR = 2


def answer_dumps() -> None:
    """Handle both signals in this process. Main thread only. Forked children inherit this, executed programs do not."""
    faulthandler.unregister(STACKS)  # else `register` does nothing if the application has set the signal meanwhile
    faulthandler.register(STACKS, file=_STDERR, all_threads=True, chain=False)
    call_in_forked_children(_ignore_stacks)
    signal.signal(TASK_TREE, _print_task_tree)


def _ignore_stacks() -> None:
    faulthandler.unregister(STACKS)


def dump_here(root: trio.lowlevel.Task | None = None) -> None:
    """Print both dumps of this process. On a thread that is not Trio's, `root` must be the run's root task."""
    _write(task_tree() if root is None else _tree_of(root))
    faulthandler.dump_traceback(_STDERR, all_threads=True)


def _print_task_tree(signum: int, frame: FrameType | None) -> None:
    _write(task_tree())


def _write(lines: Iterator[str]) -> None:
    with contextlib.suppress(Exception):  # it would be raised in the code that the signal interrupts
        write_error("".join(f"{line}\n" for line in lines))


def task_tree() -> Iterator[str]:
    """The Trio tasks of the run that the signal interrupts or the caller is in, one per line, with where they wait."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        root = None
    if root is None:
        yield f"{process_label()}: no Trio run"
        return
    yield from _tree_of(root)


def _tree_of(root: trio.lowlevel.Task) -> Iterator[str]:
    yield f"{process_label()}: Trio tasks"
    yield from _subtree(root, 1)


def _subtree(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    unit = task.context.get(UNIT)
    what = "" if unit is None or unit.ended else f" ({unit.what.encode('unicode_escape').decode()})"
    yield f"{'  ' * depth}{task.name}{what} at {' > '.join(_places(task)) or 'its start'}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _subtree(child, depth + 1)


def _places(task: trio.lowlevel.Task) -> list[str]:
    places: list[str] = []
    plumbing = False
    for frame in await_frames(task):
        follows, plumbing = plumbing, is_plumbing(frame)
        code = frame.f_code
        file = os.path.basename(code.co_filename) if plumbing else code.co_filename
        if not (follows and plumbing):
            places.append(f"{file}:{frame.f_lineno} in {code.co_name}")
    return places
