"""Where user code was stuck when it was cancelled: the line for the log.

Most frames of a stack are Trio's or a framework's. The deepest frame of the application is shown with its callers; if
there is none, the deepest frames of other libraries.

When a unit is cancelled, so are its child tasks, and each brings its own stack out of its nursery: in a group, or as
the cause of the single error that some libraries make of a group. So the place is found from the exception, and
requests that are not cancelled cost nothing.
"""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import TypeAlias

import trio

from trio_uwsgi.errors import ThreadCancelled

__all__ = ["is_plumbing", "location", "thread_location"]

Frames: TypeAlias = "list[tuple[FrameType, int]]"  # with the line of each; outermost first

# How many frames are shown: the deepest one and its callers.
_SHOWN = 3


def location(error: BaseException) -> str:
    """Where a cancelled unit was stuck, as `file:line in function (source line) < file:line in its caller`.

    If several tasks were cancelled, the deepest one is shown.
    """
    best: Frames = []
    for chain in _chains(error, [], set()):
        if isinstance(chain, ThreadCancelled):  # the task only waited for its thread, which was stuck
            return chain.where
        if len(_own(chain)) > len(_own(best)) or not best:
            best = chain
    return _shown(best)


def _chains(error: BaseException, above: Frames, seen: set[int]) -> Iterator[Frames | ThreadCancelled]:
    """The frames that lead to each place at which a task was cancelled, outermost first; those of child tasks first."""
    seen.add(id(error))
    if isinstance(error.__context__, ThreadCancelled):
        yield error.__context__
    frames = _entries(error.__traceback__)
    known = [id(frame) for frame, _ in above]
    # An exception that begins in a frame of the parent task comes from the parent task itself.
    branch = known.index(_first(error)) if _first(error) in known else len(above)
    frames = above[:branch] + frames
    known = [id(frame) for frame, _ in frames]
    parts = [part for part in _parts(error) if id(part) not in seen]
    for part in sorted(parts, key=lambda part: _first(part) in known):
        yield from _chains(part, frames, seen)
    if not parts or not isinstance(error, BaseExceptionGroup):
        yield frames


def _parts(error: BaseException) -> list[BaseException]:
    """The exceptions that a cancellation consists of."""
    if isinstance(error, BaseExceptionGroup):
        return [part for part in error.exceptions if _is_cancellation(part)] or list(error.exceptions)
    if not isinstance(error, trio.Cancelled):
        return []
    made_of = {id(part): part for part in (error.__cause__, error.__context__) if part is not None}
    return [part for part in made_of.values() if _is_cancellation(part)]


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)


def _first(error: BaseException) -> int:
    return 0 if error.__traceback__ is None else id(error.__traceback__.tb_frame)


def thread_location(ident: int) -> str:
    """Where a running thread is right now, in the same form as `location`; `ident` is `threading.get_ident()` of it."""
    frame: FrameType | None = sys._current_frames().get(ident)
    frames: Frames = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return _shown(frames[::-1])


def _entries(tb: TracebackType | None) -> Frames:
    entries: Frames = []
    while tb is not None:
        entries.append((tb.tb_frame, tb.tb_lineno))
        tb = tb.tb_next
    return entries


# Packages whose frames show how the unit waits, not what it waits for.
_PLUMBING = {"trio", "trio_uwsgi", "outcome", "anyio", "contextlib", "threading", "queue"}
# Installed code, also the standard library's; `<frozen ...>` is import machinery.
_LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}, "<frozen")


def is_plumbing(frame: FrameType) -> bool:
    """Does the frame belong to one of these packages?"""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _PLUMBING


def _theirs(frames: Frames) -> Frames:
    return [f for f in frames if not is_plumbing(f[0])]


def _own(frames: Frames) -> Frames:
    return [f for f in _theirs(frames) if not f[0].f_code.co_filename.startswith(_LIBRARIES)]


def _shown(frames: Frames) -> str:
    shown = (_own(frames) or _theirs(frames))[: -_SHOWN - 1 : -1]
    if not shown:
        return "a place outside of the application"
    places = [traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in shown]
    texts = [f"{place.filename}:{place.lineno} in {place.name}" for place in places]
    return " < ".join([f"{texts[0]} ({places[0].line})", *texts[1:]])
